#include "heddle/attention/cpu/short_documents_kernel.h"
#include "heddle/attention/cpu/simd_portable.h"

namespace heddle::attention::cpu {

namespace {

struct PortableRows : Portable {
  static Vec load_bf16(const uint16_t* from) {
    return reinterpret_cast<Vec>(Words{from[0] << 16, from[1] << 16, from[2] << 16, from[3] << 16});
  }
};

}  // namespace

const DecodeRows kDecodeRowsPortable = decode_rows<PortableRows>;
const DocumentKernel kDocumentsPortable = {PortableRows::kLanes, document_head<PortableRows>};

}  // namespace heddle::attention::cpu
