// The compiled instruction sets. Each file avx512vnni.cpp … portable.cpp is built with its own
// flags and holds templates over its own vector type only: an inline function shared with other
// files could be kept in the version that needs the newest processor.
#pragma once

#include <span>
#include <string_view>

#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops::cpu {

extern const Kernels kAvx512VnniKernels;
extern const Kernels kAvxVnniKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kPortableKernels;

/// All that were compiled, the fastest first; whether this processor can run one says `supported`.
std::span<const Kernels* const> all_kernels();

/// The named ones, or with an empty name the fastest that this processor can run; throws where
/// there are none.
const Kernels& kernels_for(std::string_view name);

}  // namespace heddle::ops::cpu
