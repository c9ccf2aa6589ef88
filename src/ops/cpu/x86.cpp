#include "heddle/ops/cpu/tables.h"

namespace heddle::ops::cpu {

std::span<const Kernels* const> all_kernels() {
  static constexpr const Kernels* kAll[] = {&kAvx512VnniKernels, &kAvxVnniKernels, &kAvx2Kernels,
                                            &kPortableKernels};
  return kAll;
}

}  // namespace heddle::ops::cpu
