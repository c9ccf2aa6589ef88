// What the kernels of a decoder step are told, beside launch.h: rows into pools, copies inside
// pools, the SSRU's cells, and the choice of the next tokens. The rules of launch.h hold.
#pragma once

#include <cstdint>

#include "heddle/ops/cuda/launch.h"

namespace heddle::ops::cuda {

/// Row r of keys and values [rows, width] goes to row at[r] of its pool, [·, width] without gaps.
struct StoreRows {
  Extent extent;
  RowsView keys, values;
  const int32_t* at;  // [rows]
  BFloat16 *key_pool, *value_pool;
};
int launch_store_rows(const StoreRows& store, Stream stream);

/// One step of the SSRU (ssru.h): gates [rows, 2D] and the cells at cells + at[r] · D, which are
/// brought further, give out [rows, D].
struct SsruStep {
  Extent extent;  // of out
  RowsView gates, out;
  float* cells;
  const int32_t* at;  // [rows], each once (but rows that nobody looks at)
};
int launch_ssru_step(const SsruStep& step, Stream stream);

/// Copies rows [from, from + count) of each pool [·, width] to [to, …). What is copied at once must
/// not overlap.
struct PoolCopies {
  int32_t copies, pools;
  const int32_t *from, *to, *count;  // [copies]
  BFloat16* const* pool;             // [pools]
  int64_t width;
};
int launch_copy_in_pools(const PoolCopies& copies, Stream stream);

/// Copies cells from[i] to to[i], in each of `layers` layers; from −1 clears. Not to overlap.
struct CellCopies {
  int32_t copies, layers;
  const int32_t *from, *to;     // [copies]
  float* cells;                 // f32 [layers, ·, width]
  int64_t width, layer_stride;  // elements
};
int launch_copy_cells(const CellCopies& copies, Stream stream);

/// A bit for each token that a row may not choose, [rows, words] of 32 tokens. First all rows are
/// set to `all`, then the bit of (rows[i], tokens[i]) to `bit`, each pair once.
struct Forbidden {
  int64_t rows, words;
  uint32_t* bits;
};
int launch_fill_bits(const Forbidden& forbidden, bool all, Stream stream);
int launch_mark_bits(const Forbidden& forbidden, const int32_t* rows, const int32_t* tokens,
                     int64_t count, bool bit, Stream stream);

inline constexpr int kMostChoices = 64;

/// The best so far of each row, best first, ties to the lower id; what is missing has id −1 and
/// logit −inf. NaN logits count as −inf.
struct Choices {
  int32_t k;
  int32_t* ids;     // [rows, k]
  float* logits;    // [rows, k]
  float* greatest;  // [rows]: of all logits, and the sum of their exp less that; null: not wanted
  float* sums;      // [rows]
};

/// Looks at some columns of the logits, from `first` on: logit + bias. Columns come in their order,
/// and those from 0 on begin anew. Columns and `first` are multiples of 4.
struct ChooseBlock {
  Extent extent;  // rows, columns
  int64_t first;
  const float* logits;        // [rows, columns] without gaps
  const float* bias;          // [columns], of these columns
  const uint32_t* forbidden;  // of Forbidden, or null
  int64_t words;
  Choices best;
};
int launch_choose(const ChooseBlock& block, Stream stream);

}  // namespace heddle::ops::cuda
