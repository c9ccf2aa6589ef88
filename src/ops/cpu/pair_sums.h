// Makes tiles ready for sums in 16 bits (packed.h).
#pragma once

#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// Makes ClippedWeights where that pays, else UnsignedWeights; `packed` holds tiles of whole
/// weights.
void prepare_pair_sums(PackedInt8& packed);

}  // namespace heddle::ops::cpu
