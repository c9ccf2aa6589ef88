#include "heddle/attention/cpu/tables.h"

namespace heddle::attention::cpu {

const Kernels* avx512_kernels() { return nullptr; }
const Kernels* avx2_kernels() { return nullptr; }

}  // namespace heddle::attention::cpu
