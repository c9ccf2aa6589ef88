// Makes tiles ready for sums in 16 bits (packed.h).
#pragma once

#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// Sets pair_norms and adds 128 to every value of the tiles.
void prepare_pair_sums(PackedInt8& packed);

}  // namespace heddle::ops::cpu
