// The compiled instruction sets. Each file avx512.cpp, avx2.cpp, portable.cpp is built with its own
// flags and holds templates over its own vector type only: an inline function shared with other
// files could be kept in the version that needs the newest processor.
#pragma once

#include "heddle/attention/cpu/kernels.h"

namespace heddle::attention::cpu {

extern const Kernels kAvx512Kernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kPortableKernels;

/// Null where the processor does not have the instructions, or the build does not target its
/// family.
const Kernels* avx512_kernels();
const Kernels* avx2_kernels();
inline const Kernels* portable_kernels() { return &kPortableKernels; }

/// The widest that this processor has.
inline const Kernels& best_kernels() {
  if (const Kernels* kernels = avx512_kernels()) return *kernels;
  if (const Kernels* kernels = avx2_kernels()) return *kernels;
  return kPortableKernels;
}

}  // namespace heddle::attention::cpu
