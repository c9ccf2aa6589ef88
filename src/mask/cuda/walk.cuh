// Walks the live tiles of one list in rising order. All threads of a block walk together, so every
// branch on the result is uniform.
#pragma once

#include "heddle/mask/cuda/launch.h"

namespace heddle::cuda {

struct LiveTile {
  int index;     // −1: no more
  bool partial;  // some pair in it is not allowed: test every element
};

/// Holds little, as kernels that walk have no register to spare: the bits stay with the caller.
class TileWalk {
 public:
  __device__ TileWalk(const TileBits& bits, int set, int tile)
      : list_((set * bits.tiles + tile) * bits.words_per_tile) {}

  __device__ LiveTile next(const TileBits& bits) {
    while (word_.live == 0) {
      if (++at_ >= bits.words_per_tile) return {-1, false};
      word_ = bits.words[list_ + at_];
    }
    const int bit = __ffs(static_cast<int>(word_.live)) - 1;
    word_.live &= word_.live - 1;
    return {at_ * 32 + bit, ((word_.full >> bit) & 1u) == 0};
  }

 private:
  int list_;
  int at_ = -1;
  TileWord word_{0, 0};
};

}  // namespace heddle::cuda
