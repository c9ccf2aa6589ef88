#include "heddle/attention/cpu/short_documents_kernel.h"
#include "heddle/attention/cpu/simd_avx512.h"

namespace heddle::attention::cpu {

namespace {

struct Avx512Rows : Avx512 {
  static Vec load_bf16(const uint16_t* from) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
};

}  // namespace

const DecodeRows kDecodeRowsAvx512 = decode_rows<Avx512Rows>;
const DocumentKernel kDocumentsAvx512 = {Avx512Rows::kLanes, document_head<Avx512Rows>};

}  // namespace heddle::attention::cpu
