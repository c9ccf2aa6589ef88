// One call of attention as the CPU drivers see it: sizes, the tile plan, rules of scoring, and the
// tiles of its tensors.
#pragma once

#include <array>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "heddle/attention/attention.h"
#include "heddle/attention/cpu/kernels.h"

namespace heddle::attention::cpu {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Words = std::array<uint64_t, 64>;

/// A tile's place and size.
struct Tile {
  int32_t row, key;
  int rows, keys;
};

class Problem {
 public:
  explicit Problem(const Args& args);

  int64_t heads() const { return args.q.dim(1); }
  int64_t kv_heads() const { return args.k.dim(1); }
  int64_t group() const { return heads() / kv_heads(); }
  int head_dim() const { return static_cast<int>(args.q.dim(2)); }
  int value_dim() const { return static_cast<int>(args.v.dim(2)); }
  int64_t kv_head(int64_t head) const { return head / group(); }
  int32_t mask_head(int64_t head) const;

  ScoreRule rule(int64_t head) const;
  double sink(int64_t head) const;  ///< in units of log2; −inf without sinks

  /// Builds the plan unless the caller's fits.
  const MaskPlan& plan();

  Tile tile(int32_t query_tile, int32_t key_tile) const;

  const Args& args;
  const MaskView mask;
  const float scale;

 private:
  std::optional<MaskPlan> own_plan_;
};

/// Bit i of words[j]: row tile.row + i may look at key tile.key + j.
void visible_rows_of_keys(const MaskView& mask, int32_t head, const Tile& tile, Words& words);

/// Bit j of the result's word i = bit i of word j.
void transpose_bits(Words& words);

/// Rows [first, first + count) of one head in single precision: the tensor's own memory where it
/// can be read as it is, else a copy in `buffer`.
Rows read_rows(const Tensor& tensor, int64_t head, int32_t first, int count, float* buffer);

/// The same, always copied: rows `width` apart, zeros after the last column.
void copy_rows(const Tensor& tensor, int64_t head, int32_t first, int count, int64_t width,
               float* to);

/// The reverse of copy_rows.
void store_rows(const float* from, int64_t width, const Tensor& tensor, int64_t head, int32_t first,
                int count);

bool all_finite(const Rows& rows);

/// Asks for rows that are read soon: rows of one head lie far apart, where no processor guesses
/// them.
void prefetch_rows(const Tensor& tensor, int64_t head, int32_t first, int count);

/// What a row's running softmax ends as: out = factor · Σ exp2(score − max) · v, and lse.
struct RowEnd {
  float factor, lse;
};
/// `sink` is a logit in units of log2, −inf for none. A row without keys (sum 0) ends as 0, −inf.
RowEnd end_row(double max, double sum, double sink);

/// A block of consecutive tiles that share what they are multiplied with: query tiles of a
/// key/value head's group, or key tiles.
struct Item {
  int32_t kv_head;
  int32_t first, count;
  int64_t cost;  ///< live tiles
};

/// Blocks over all key/value heads, the longest first. A member of a query block is (tile, head of
/// the group), numbered heads first: they all read the same keys.
std::vector<Item> query_items(const Problem& problem, const MaskPlan& plan, int32_t block);
std::vector<Item> key_items(const Problem& problem, const MaskPlan& plan, int32_t block);

/// Tiles a block: as many as `bytes_per_tile` lets stay in the cache, fewer where threads would
/// idle.
int32_t tiles_per_block(int64_t bytes_per_tile, int64_t tiles, int threads);

/// Runs body(index, thread) over [0, count) on the pool, or on the caller alone.
void for_each_item(ThreadPool* threads, int64_t count,
                   const std::function<void(int64_t, int)>& body);
inline int thread_count(const ThreadPool* threads) {
  return threads != nullptr ? threads->threads() : 1;
}

/// Floats for one thread, cut into aligned pieces.
class Scratch {
 public:
  explicit Scratch(int64_t floats)
      : memory_(Tensor::empty({floats}, DType::f32)), next_(memory_.data<float>()) {}

  float* take(int64_t floats) {
    float* piece = next_;
    next_ += padded(floats);
    return piece;
  }
  static int64_t padded(int64_t floats) { return (floats + 15) / 16 * 16; }

 private:
  Tensor memory_;
  float* next_;
};

}  // namespace heddle::attention::cpu
