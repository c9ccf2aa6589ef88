#include "heddle/ops/cpu/tables.h"

namespace heddle::ops::cpu {

std::span<const Kernels* const> all_kernels() {
  static constexpr const Kernels* kAll[] = {&kPortableKernels};
  return kAll;
}

}  // namespace heddle::ops::cpu
