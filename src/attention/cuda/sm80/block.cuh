// What every attention kernel does around its products: which work a block has, copying tiles in
// and out, and the options that change a score.
#pragma once

#include "heddle/attention/cuda/launch.h"
#include "heddle/attention/cuda/sm80/mma.cuh"
#include "heddle/mask/cuda/walk.cuh"

namespace heddle::attention::cuda::sm80 {

using heddle::cuda::ColumnBounds;
using heddle::cuda::LiveTile;
using heddle::cuda::TileWalk;

/// Volatile, so that the compiler does not fetch the bounds of all columns at once into registers.
__device__ inline ColumnBounds load_bounds(uint32_t address) {
  ColumnBounds bounds;
  asm volatile("ld.shared.v4.s32 {%0,%1,%2,%3}, [%4];"
               : "=r"(bounds.lts), "=r"(bounds.lte), "=r"(bounds.uts), "=r"(bounds.ute)
               : "r"(address));
  return bounds;
}

/// One tile of one head of one sequence.
struct Work {
  int batch, kv_head, head;  // head: the first of its group when a block serves the whole group
  int set;                   // of the mask's bounds
  int tile;
};

/// Blocks are numbered by section of the L2 cache, then tiles with most work first, then the heads
/// of the section; `group` blocks share a key/value head.
__device__ inline Work work_of_block(const Problem& problem, const TileBits& bits, int group) {
  const int pairs = problem.batches * problem.kv_heads;
  const int per_section = problem.section * group * bits.tiles;
  const int section = static_cast<int>(blockIdx.x) / per_section;
  const int rest = static_cast<int>(blockIdx.x) - section * per_section;
  const int heads = min(problem.section, pairs - section * problem.section) * group;
  const int place = rest / heads, member = rest - place * heads;
  const int pair = section * problem.section + member / group;
  Work work;
  work.batch = pair / problem.kv_heads;
  work.kv_head = pair - work.batch * problem.kv_heads;
  work.head = work.kv_head * (problem.heads / problem.kv_heads) + member % group;
  work.set = mask_set(problem.mask, work.batch, work.kv_head);
  work.tile = bits.order[static_cast<int64_t>(work.set) * bits.tiles + place];
  return work;
}

template <typename T>
__device__ inline T* head_rows(const Rows& rows, int batch, int head) {
  return static_cast<T*>(rows.data) + batch * rows.batch_stride + head * rows.head_stride;
}

__device__ inline float* head_values(const RowValues& values, int batch, int head) {
  return values.data + batch * values.batch_stride + head * values.head_stride;
}

/// A pointer kept in shared memory and fetched at each use: the loops have no register to spare.
template <typename T>
class ParkedPointer {
 public:
  __device__ void set(T* pointer) { pointer_ = pointer; }
  __device__ T* get() const { return pointer_; }

 private:
  T* volatile pointer_;
};

/// The thread's index, read anew: what is derived from it is computed where it is used instead of
/// being kept in registers all through the loop.
__device__ inline int fresh_thread() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}

/// Starts copying rows [begin, begin + kRows) of one head to a tile; zeros past the last row and
/// past the head dimension.
template <int kColumns, int kRows, int kThreads, typename T>
__device__ inline void copy_tile(uint32_t to, const T* from, int64_t row_stride, int begin,
                                 int rows, int columns) {
  using Layout = TileLayout<kColumns>;
  constexpr int kRowsAtOnce = kThreads / Layout::kChunks;
  static_assert(kRows % kRowsAtOnce == 0);
  const int thread = fresh_thread();
  const int chunk = thread % Layout::kChunks, first = thread / Layout::kChunks;
  const T* source = from + (begin + first) * row_stride + chunk * 8;
#pragma unroll
  for (int i = 0; i < kRows; i += kRowsAtOnce) {
    const bool valid = begin + first + i < rows && chunk * 8 < columns;
    copy_async_16(to + Layout::at(first + i, chunk), valid ? source : from, valid);
    source += kRowsAtOnce * row_stride;
  }
}

/// Writes a tile's rows back to one head, 16 bytes a thread; `thread` of `threads`.
template <int kColumns, typename T>
__device__ inline void store_tile(const unsigned char* tile, T* to, int64_t row_stride, int begin,
                                  int count, int columns, int thread, int threads) {
  using Layout = TileLayout<kColumns>;
  for (int i = thread; i < count * Layout::kChunks; i += threads) {
    const int row = i / Layout::kChunks, chunk = i % Layout::kChunks;
    if (chunk * 8 >= columns) continue;
    *reinterpret_cast<uint4*>(to + (begin + row) * row_stride + chunk * 8) =
        *reinterpret_cast<const uint4*>(tile + Layout::at(row, chunk));
  }
}

/// Writes 16×8 fragments, times a factor a row, to a tile in 16 bits. Rows from `row`, columns from
/// the 8-wide chunk `chunk`.
template <typename T, int kColumns, int kN>
__device__ inline void store_fragments(uint32_t tile, const float (&c)[kN][4], float low_factor,
                                       float high_factor, int row, int chunk) {
  using Layout = TileLayout<kColumns>;
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    const uint32_t column = static_cast<uint32_t>(lane % 4) * 4;
    store_shared(tile + Layout::at(row + lane / 4, chunk + n) + column,
                 pack<T>(c[n][0] * low_factor, c[n][1] * low_factor));
    store_shared(tile + Layout::at(row + lane / 4 + 8, chunk + n) + column,
                 pack<T>(c[n][2] * high_factor, c[n][3] * high_factor));
  }
}

/// A word of rows: the bits from `from` on.
__device__ inline uint32_t rows_from(int from) {
  uint32_t bits;
  asm("shl.b32 %0, %1, %2;" : "=r"(bits) : "r"(0xffffffffu), "r"(max(from, 0)));  // 32 on: zero
  return bits;
}

/// Which of the 32 rows from `row` on see a key: bit i is row + i. A partial tile's mask is made of
/// these words, one a column and warp, so that an element costs one test of a bit.
__device__ inline uint32_t visible_word(const MaskColumn& column, int row) {
  const uint32_t lower = rows_from(column.lts - row) & ~rows_from(column.lte - row);
  const uint32_t upper = rows_from(column.uts - row) & ~rows_from(column.ute - row);
  return rows_from(column.first - row) & ~(lower | upper);
}

/// Ones in the 16-bit halves of a pair whose rows' bits, 8 · n and 8 · n + 1, are set.
__device__ inline uint32_t keep_pair(uint32_t rows, int n) {
  const uint32_t each = static_cast<uint32_t>(n) * 0x11 + 0x88;  // a byte's sign, twice
  uint32_t pair;
  asm("prmt.b32 %0, %1, %2, %3;"
      : "=r"(pair)
      : "r"(rows << 7), "r"(rows << 6), "r"(each | (each + 0x44) << 8));
  return pair;
}

/// The visible words of a key tile's columns for the 32 rows from `row` on, written by one warp to
/// its own [keys] words in shared memory. False when no row sees any key.
template <int kKeys>
__device__ inline bool store_visible(uint32_t words, const DeviceColumns& mask, uint32_t bounds,
                                     int row, int key) {
  const int lane = fresh_thread() % 32;
  uint32_t any = 0;
  __syncwarp();  // the words of the tile before have been read
#pragma unroll
  for (int at = lane; at < kKeys; at += 32) {
    const uint32_t word =
        visible_word(mask_column(mask, load_bounds(bounds + at * 16), key + at), row);
    store_shared(words + at * 4, word);
    any |= word;
  }
  __syncwarp();
  return __any_sync(0xffffffffu, any != 0);
}

/// Sets what the mask hides in fragments of 16 rows × 8 keys; `words` as store_visible left them.
template <int kM, int kN>
__device__ inline void hide(float (&s)[kM][kN][4], uint32_t words, float hidden) {
  const int lane = fresh_thread() % 32;
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    uint32_t pair[2];
    load_pair(pair, words + n * 32 + lane % 4 * 8);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint32_t rows = pair[e] >> (lane / 4);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        if ((rows & (1u << (m * 16))) == 0) s[m][n][e] = hidden;
        if ((rows & (1u << (m * 16 + 8))) == 0) s[m][n][e + 2] = hidden;
      }
    }
  }
}

/// The options that change a score; only kernels compiled for them ask.
struct ScoreOptions {
  float scale, softcap, slope;
  int offset;

  __device__ ScoreOptions(const Problem& problem, int head)
      : scale(problem.scale),
        softcap(problem.softcap),
        slope(problem.alibi_slopes != nullptr ? problem.alibi_slopes[head] : 0),
        offset(problem.mask.offset) {}

  /// q·k to x · log2(e), see attention.h; `slope_of_cap` becomes dx / d(scale · q·k).
  __device__ float apply(float score, int row, int key, float& slope_of_cap) const {
    float x = scale * score;
    slope_of_cap = 1;
    if (softcap > 0) {
      const float t = tanhf(x / softcap);
      x = softcap * t;
      slope_of_cap = 1 - t * t;
    }
    x -= slope * fabsf(static_cast<float>(row + offset - key));
    return x * kLog2E;
  }
};

}  // namespace heddle::attention::cuda::sm80
