// What the kernels for short documents share. Each warp works alone, on one group of 16 rows after
// the other: it goes over the blocks of 16 rows of the other side that these have to do with, three
// of them in shared memory, two on their way. What tells where the next group's blocks are is read
// ahead, since waiting for memory is most of the work. Fragments and tiles are those of
// sm80/mma.cuh.
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

/// The 16 rows of one head that a warp owns for a while.
struct Own {
  int batch, head, first;
};

/// The warp's share of all groups of 16 rows, one after the other. Heads are neighbours, so that
/// rows come from memory whole.
class Share {
 public:
  __device__ Share(int batches, int heads, int length)
      : heads_(heads), groups_((length - 1) / kRows + 1), end_(batches * heads * groups_) {
    at_ = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  }
  __device__ bool done() const { return at_ >= end_; }
  __device__ void advance() { at_ += static_cast<int>(gridDim.x) * kWarps; }
  __device__ Own own() const {
    const int group = at_ / heads_;
    return {group / groups_, at_ % heads_, group % groups_ * kRows};
  }

 private:
  int heads_, groups_, end_, at_;
};

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

/// The same of keys and values [16, E] of one key/value head, to two tiles; of a ForwardLaunch or a
/// BackwardLaunch.
template <typename T, typename Launch>
__device__ inline void copy_keys(const Launch& p, int batch, int kv_head, int first,
                                 uint32_t tiles) {
  const int length = p.problem.mask.key_length, columns = p.problem.head_dim;
  copy_rows(tiles, head_rows<const T>(p.k, batch, kv_head), p.k.row_stride, first, length, columns);
  copy_rows(tiles + kTileBytes, head_rows<const T>(p.v, batch, kv_head), p.v.row_stride, first,
            length, columns);
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
    for (int i = 0; i < 4; ++i)
      a[0][i] = sm80::pack<T>(s[i / 2][i % 2 * 2], s[i / 2][i % 2 * 2 + 1]);
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

/// A block of the other side that a warp's rows work with.
struct Block {
  int first;      // its first row or key, −1: no more
  uint32_t rows;  // bits of the rows that look at key lane % 16 of the block, or of the warp's keys
};

/// Blocks of 16 keys that some of 16 rows look at. Bounds are read for two blocks at once, and
/// those of the next two while these are worked on.
class KeyWalk {
 public:
  __device__ KeyWalk(const DeviceColumns& mask, const KeySpans::Keys& keys, bool skips, int set,
                     int first)
      : set_(set), first_(first), skips_(skips) {
    const bool none = skips_ && keys.begin >= keys.end();
    key_ = skips_ && !none ? keys.begin / kRows * kRows : 0;
    end_ = none ? 0 : skips_ ? keys.end() : mask.key_length;
    pair_ = key_;
    if (key_ < end_) rows_ = look(mask, column_of(mask, set_, pair_ + lane_of()));
    if (pair_ + 2 * kRows < end_) coming_ = column_of(mask, set_, pair_ + 2 * kRows + lane_of());
  }

  __device__ Block next(const DeviceColumns& mask) {
    for (; key_ < end_; key_ += kRows) {
      if (key_ - pair_ == 2 * kRows) {
        pair_ = key_;
        rows_ = look(mask, coming_);
        if (pair_ + 2 * kRows < end_)
          coming_ = column_of(mask, set_, pair_ + 2 * kRows + lane_of());
      }
      const uint32_t rows = __shfl_sync(kAllLanes, rows_, key_ - pair_ + lane_of() % kRows);
      if (skips_ && !__any_sync(kAllLanes, rows != 0)) continue;
      key_ += kRows;
      return {key_ - kRows, rows};
    }
    return {-1, 0};
  }

 private:
  __device__ uint32_t look(const DeviceColumns& mask, const MaskColumn& column) const {
    return rows_that_see(column, first_, mask.query_length);
  }

  int set_, first_, key_, end_, pair_;
  bool skips_;
  uint32_t rows_ = 0;  // that look at key pair_ + lane
  MaskColumn coming_;
};

/// Those that look at key n · 8 + lane % 4 · 2 + e of the block, from this lane's first row on: of
/// its elements of scores [rows, keys].
__device__ inline uint32_t rows_of(const Block& block, int n, int e) {
  return __shfl_sync(kAllLanes, block.rows, n * 8 + lane_of() % 4 * 2 + e) >> (lane_of() / 4);
}

/// The keys that a warp's next rows look at; `group`: query heads of a key/value head.
__device__ inline KeySpans::Keys keys_of_next(const Share& share, const DeviceColumns& mask,
                                              const KeySpans& spans, int group) {
  if (share.done()) return {0, 0};
  const Own next = share.own();
  const int set = mask_set(mask, next.batch, next.head / group);
  const int groups = (mask.query_length - 1) / kRows + 1;
  return spans.of_rows[set * groups + next.first / kRows];
}

/// Stages of a warp: blocks in shared memory, of which one is worked on while the others come.
inline constexpr int kStages = 3;

__device__ inline int stage_after(int stage) { return stage + 1 == kStages ? 0 : stage + 1; }

/// Queues a kernel whose warps share `groups` groups of rows; so many blocks stay on a processor.
template <typename Launch, typename... More>
int launch(void (*kernel)(Launch, More...), int groups, int blocks_each, int warp_bytes,
           const Launch& p, More... more) {
  const int bytes = kWarps * warp_bytes;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status != cudaSuccess) return status;
  const int blocks = (groups - 1) / kWarps + 1, most = p.multiprocessors * blocks_each;
  kernel<<<static_cast<unsigned>(blocks < most ? blocks : most), kThreads, bytes,
           p.launch.problem.stream>>>(p, more...);
  return cudaGetLastError();
}

inline int groups_of(int batches, int heads, int length) {
  return batches * heads * ((length - 1) / kRows + 1);
}

}  // namespace heddle::attention::cuda::shorts
