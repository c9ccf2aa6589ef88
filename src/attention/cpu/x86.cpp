#include "heddle/attention/cpu/tables.h"

namespace heddle::attention::cpu {

const Kernels* avx512_kernels() {
  return __builtin_cpu_supports("avx512f") ? &kAvx512Kernels : nullptr;
}

const Kernels* avx2_kernels() {
  const bool found = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return found ? &kAvx2Kernels : nullptr;
}

}  // namespace heddle::attention::cpu
