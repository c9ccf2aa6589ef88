#include "heddle/attention/cpu/short_documents_kernel.h"
#include "heddle/attention/cpu/simd_avx2.h"

namespace heddle::attention::cpu {

namespace {

struct Avx2Rows : Avx2 {
  static Vec load_bf16(const uint16_t* from) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
};

}  // namespace

const DecodeRows kDecodeRowsAvx2 = decode_rows<Avx2Rows>;
const DocumentKernel kDocumentsAvx2 = {Avx2Rows::kLanes, document_head<Avx2Rows>};

}  // namespace heddle::attention::cpu
