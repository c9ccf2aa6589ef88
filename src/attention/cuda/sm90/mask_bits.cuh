// The element test of a partial tile, taken out of the softmax: a spare warp turns the bounds of
// the tile's columns into one bit an element, and the matrix warps pick −inf where the bit is 0. It
// costs them the same for any mask, and the bits are ready before the scores are.
//
// Layout. A consumer owns 64 rows: four slabs of 16, one a warp. One word holds a pair of columns
// of a slab: bits 0–15 the rows of the even column, bits 16–31 of the odd one. A thread's four
// scores of one j (columns 8·j + 2·q + {0, 1}, rows g and g + 8; q = lane % 4, g = lane / 4) are
// bits g, g + 16, g + 8, g + 24 of the word of pair 4·j + q. Words of four j lie together, to be
// read at once.
#pragma once

#include "heddle/attention/cuda/sm90/ptx.cuh"
#include "heddle/mask/cuda/launch.h"

namespace heddle::attention::cuda::sm90 {

template <int kKeys>
struct MaskBits {
  static constexpr int kPairs = kKeys / 2;
  static constexpr int kGroups = (kKeys / 8 + 3) / 4;  // of four j
  static constexpr int kSlabWords = kGroups * 16;

  alignas(16) uint32_t words[4][kSlabWords];
};

/// Which of the rows [row, row + 32) may look at the column.
__device__ __forceinline__ uint32_t visible_bits(const MaskColumn& column, int32_t row) {
  const uint32_t early = low_bits(column.first - row);
  const uint32_t lower = low_bits(column.lte - row) & ~low_bits(column.lts - row);
  const uint32_t upper = low_bits(column.ute - row) & ~low_bits(column.uts - row);
  return ~(early | lower | upper);
}

/// The bounds of kPairs of the column pairs that one lane of a warp tests for a tile.
template <int kPairs>
struct LaneColumns {
  int4 bounds[kPairs][2];

  /// Loads pairs lane + 32·(first + i) of the keys from `key` on, all at once as each load takes
  /// long.
  __device__ __forceinline__ LaneColumns(const heddle::cuda::DeviceColumns& mask, int32_t set,
                                         int32_t key, int first) {
    const auto* all = reinterpret_cast<const int4*>(mask.bounds) + int64_t{set} * mask.key_length;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int32_t at = key + 2 * (lane + 32 * (first + i)) + e;
        bounds[i][e] = __ldg(all + min(at, mask.key_length - 1));
      }
    }
  }
};

/// One warp writes the bits of those columns and rows [row, row + 64); keys past the last are never
/// seen.
template <int kKeys, int kPairs>
__device__ __forceinline__ void write_mask_bits(MaskBits<kKeys>& bits,
                                                const LaneColumns<kPairs>& columns,
                                                const heddle::cuda::DeviceColumns& mask,
                                                int32_t row, int32_t key, int first) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = lane + 32 * (first + i);
    if (pair >= MaskBits<kKeys>::kPairs) break;
    uint32_t seen[2][2];  // [column of the pair][32 rows]
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int4 bound = columns.bounds[i][e];
      const MaskColumn column =
          mask_column(mask, {bound.x, bound.y, bound.z, bound.w}, key + 2 * pair + e);
      seen[e][0] = visible_bits(column, row);
      seen[e][1] = visible_bits(column, row + 32);
    }
    const int j = pair / 4, q = pair % 4;
    const int word = (j / 4) * 16 + q * 4 + j % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      bits.words[2 * half][word] = __byte_perm(seen[0][half], seen[1][half], 0x5410);
      bits.words[2 * half + 1][word] = __byte_perm(seen[0][half], seen[1][half], 0x7632);
    }
  }
}

/// Scores that the mask hides become −inf. scores: the accumulator of 64 rows × kKeys.
template <int kKeys>
__device__ __forceinline__ void apply_mask_bits(float (&scores)[kKeys / 2],
                                                const MaskBits<kKeys>& bits, int warp, int lane) {
  const uint32_t* words = bits.words[warp] + (lane % 4) * 4;
#pragma unroll
  for (int group = 0; group < MaskBits<kKeys>::kGroups; ++group) {
    const uint4 four = *reinterpret_cast<const uint4*>(words + group * 16);
    const uint32_t word[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int j = group * 4 + i;
      if (j >= kKeys / 8) break;
      const uint32_t mine = word[i] >> (lane / 4);
      if (!(mine & 0x1u)) scores[4 * j] = -INFINITY;
      if (!(mine & 0x10000u)) scores[4 * j + 1] = -INFINITY;
      if (!(mine & 0x100u)) scores[4 * j + 2] = -INFINITY;
      if (!(mine & 0x1000000u)) scores[4 * j + 3] = -INFINITY;
    }
  }
}

}  // namespace heddle::attention::cuda::sm90
