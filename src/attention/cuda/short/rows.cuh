// What the kernels for short documents share. Each warp works alone: it holds 16 rows of its own in
// registers and goes over blocks of 16 rows of the other side, two of them at a time in shared
// memory, one being copied. Fragments and tiles are those of sm80/mma.cuh.
#pragma once

#include "heddle/attention/cuda/short/launch.h"
#include "heddle/attention/cuda/sm80/block.cuh"

namespace heddle::attention::cuda::shorts {

using sm80::head_rows;
using sm80::head_values;
using sm80::kInfinity;
using sm80::kLn2;
using sm80::kLog2E;

inline constexpr int kE = 64;  // columns of a tile; narrower heads are padded with zeros
inline constexpr int kWarps = 4, kThreads = 32 * kWarps;
inline constexpr unsigned kAllLanes = 0xffffffffu;
using Layout = sm80::TileLayout<kE>;
using Offset = sm80::LaneOffset<kE>;
inline constexpr uint32_t kTileBytes = kRows * Layout::kPitch;

__device__ inline int lane_of() { return static_cast<int>(threadIdx.x) % 32; }

/// The 16 rows of one head that a warp owns.
struct Own {
  int batch, head, first;
};

/// Heads are neighbours, so that rows come from memory whole; `first` may be past the last row.
__device__ inline Own own_rows(int heads, int length) {
  const int blocks = (length - 1) / (kRows * kWarps) + 1;
  const int at = static_cast<int>(blockIdx.x) / heads;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  return {at / blocks, static_cast<int>(blockIdx.x) % heads,
          (at % blocks * kWarps + warp) * kRows};
}

inline unsigned blocks_of(int batches, int heads, int length) {
  return static_cast<unsigned>(batches * heads * ((length - 1) / (kRows * kWarps) + 1));
}

/// A warp starts copying 16 rows of one head; zeros past the last row and past the head dimension.
template <typename T>
__device__ inline void copy_rows(uint32_t tile, const T* from, int64_t row_stride, int first,
                                 int length, int columns) {
  const int chunk = lane_of() % Layout::kChunks;
  for (int row = lane_of() / Layout::kChunks; row < kRows; row += 32 / Layout::kChunks) {
    const bool valid = first + row < length && chunk * 8 < columns;
    sm80::copy_async_16(tile + Layout::at(row, chunk),
                        valid ? from + (first + row) * row_stride + chunk * 8 : from, valid);
  }
}

/// 16 rows as the left factor of products, in registers.
struct Left {
  uint32_t at[kE / 16][4];

  __device__ void load(uint32_t tile) {
#pragma unroll
    for (int step = 0; step < kE / 16; ++step) {
      sm80::load_matrices(at[step], sm80::advance(tile + Offset::rows16(lane_of()), step));
    }
  }
};

/// s [16, 16] = left · tileᵀ.
template <typename T>
__device__ inline void multiply(float (&s)[2][4], const Left& left, uint32_t tile) {
#pragma unroll
  for (int n = 0; n < 2; ++n) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
  const uint32_t rows = tile + Offset::rows8(lane_of());
#pragma unroll
  for (int step = 0; step < kE / 16; ++step) {
    uint32_t b[4];
    sm80::load_matrices(b, sm80::advance(rows, step));
    sm80::multiply<T>(s[0], left.at[step], b[0], b[1]);
    sm80::multiply<T>(s[1], left.at[step], b[2], b[3]);
  }
}

/// Sums [16, E] of products of scores and rows.
struct Sums {
  float at[1][kE / 8][4] = {};

  /// += s [16, 16], rounded, · tile.
  template <typename T>
  __device__ void add(const float (&s)[2][4], uint32_t tile) {
    uint32_t a[1][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) a[0][i] = sm80::pack<T>(s[i / 2][i % 2 * 2], s[i / 2][i % 2 * 2 + 1]);
    sm80::multiply_step<T>(at, a, tile + Offset::rows16(lane_of()), 0);
  }

  /// Times a factor for this lane's rows lane / 4 and lane / 4 + 8, to the warp's rows of `to`, by
  /// way of a tile that nobody needs any more.
  template <typename T>
  __device__ void store(float low, float high, unsigned char* tile, T* to, int64_t row_stride,
                        int first, int length, int columns) const {
    __syncwarp();
    sm80::store_fragments<T, kE>(sm80::shared_address(tile), at[0], low, high, 0, 0);
    __syncwarp();
    sm80::store_tile<kE>(tile, to, row_stride, first, min(kRows, length - first), columns,
                         lane_of(), 32);
  }
};

/// Bit i: row `first` + i, one of 16, may look at a column.
__device__ inline uint32_t rows_that_see(const MaskColumn& column, int first, int length) {
  return sm80::visible_word(column, first) & ~sm80::rows_from(length - first) & 0xffff;
}

__device__ inline MaskColumn column_of(const DeviceColumns& mask, int set, int key) {
  const int64_t at = static_cast<int64_t>(set) * mask.key_length + min(key, mask.key_length - 1);
  return mask_column(mask, mask.bounds[at], key);
}

/// Blocks of 16 keys that some of 16 rows look at.
class KeyWalk {
 public:
  __device__ KeyWalk(const DeviceColumns& mask, const KeySpans& spans, int set, int first)
      : set_(set), first_(first), skips_(spans.skips) {
    const int groups = (mask.query_length - 1) / kRows + 1;
    const KeySpans::Keys keys = spans.of_rows[set * groups + first / kRows];
    const bool none = skips_ && keys.begin >= keys.end();
    block_ = skips_ && !none ? keys.begin / kRows : 0;
    end_ = none ? 0 : ((skips_ ? keys.end() : mask.key_length) - 1) / kRows + 1;
    next(mask);
  }

  int key = -1;   ///< the first of the block, −1: no more
  uint32_t rows;  ///< that look at this lane's key, lane % 16 of the block

  __device__ void next(const DeviceColumns& mask) {
    for (key = -1; key < 0 && block_ < end_; ++block_) {
      const int at = block_ * kRows;
      const MaskColumn column = column_of(mask, set_, at + lane_of() % kRows);
      rows = rows_that_see(column, first_, mask.query_length);
      if (!skips_ || __any_sync(kAllLanes, rows != 0)) key = at;
    }
  }

  /// Of key n · 8 + lane % 4 · 2 + e of the block: this lane's elements of scores [rows, keys].
  __device__ uint32_t rows_of(int n, int e) const {
    return __shfl_sync(kAllLanes, rows, n * 8 + lane_of() % 4 * 2 + e) >> (lane_of() / 4);
  }

 private:
  int set_, first_, block_, end_;
  bool skips_;
};

}  // namespace heddle::attention::cuda::shorts
