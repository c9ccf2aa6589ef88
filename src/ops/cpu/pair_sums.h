// Makes tiles ready for sums in 16 bits (packed.h).
#pragma once

#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// Makes ClippedWeights where that pays, else GroupedWeights; `packed` holds tiles of whole
/// weights. `from_relu`: for codes that are hardly ever negative.
void prepare_pair_sums(PackedInt8& packed, bool from_relu);

}  // namespace heddle::ops::cpu
