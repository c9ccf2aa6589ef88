// Makes PairSums (packed.h) from tiles.
#pragma once

#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// Clips the tiles where that pays; `packed` holds tiles of whole weights.
void add_pair_sums(PackedInt8& packed);

}  // namespace heddle::ops::cpu
