// What the kernels of ops are told: plain structs, the only header that host and GPU code share.
//
// Rows are [rows, width] of bf16, or of IEEE halves where they say so, which all operations take
// that are not for training alone; either is passed as BFloat16, 16 bits. Width is a multiple of 8,
// rows begin at multiples of 16 bytes (so strides are multiples of 8), and so do tables, weights,
// biases and scratch of f32. Sums are in f32, in an order that depends on shapes alone: no result
// changes from run to run. Each launcher queues its kernels on the stream and returns a
// cudaError_t. `scratch` is memory for one call, of the size its *_scratch function tells.
#pragma once

#include <cstdint>

#include "heddle/base/half.h"
#include "heddle/ops/activation.h"

struct CUstream_st;

namespace heddle::ops::cuda {

using Stream = CUstream_st*;

/// Rows and nothing else; null data: there are none.
struct RowsView {
  BFloat16* data;
  int64_t stride;  // elements
  Half half = Half::bf16;
};

/// ops::Dropout as kernels take it: the same random numbers (base/philox.h).
struct DropoutKey {
  uint32_t bound = 0;  // 16-bit numbers below it are dropped; 0: no dropout
  float scale = 1;     // 65536 / (65536 − bound)
  uint32_t site = 0, step = 0, key0 = 0, key1 = 0;
  uint64_t first_row = 0;
};

struct Extent {
  int64_t rows, width;
};

// Norms: s = drop(x) + residual; y = (s − mean) · factor · weight + bias. Up to 16384 columns.

struct NormForward {
  Extent extent;
  RowsView x, residual, y;  // y may be residual
  DropoutKey dropout;
  bool keeps_sum;  // x = s, in place, for the backward
  bool subtracts_mean;
  const float *weight, *bias;  // [D]; bias may be null
  float epsilon;
  float *mean, *factor;  // [rows], written; both null: not kept
};
int launch_norm(const NormForward& norm, Stream stream);

/// From d_y: d_s, for the residual, and drop(d_s), for x. Each goes to its rows, overwritten or
/// added to; null: not wanted. d_y may be d_residual or d_x. d_x_sums += its column sums, the
/// gradient of a bias before the norm.
struct NormBackward {
  Extent extent;
  RowsView sum, d_y, d_residual, d_x;
  bool adds_residual, adds_x;
  DropoutKey dropout;
  bool subtracts_mean;
  const float *weight, *mean, *factor;
  float *d_weight, *d_bias;  // [D], added to; d_bias may be null
  float* d_x_sums;           // [D] or null
  float* scratch;
};
bool norm_backward_can_sum(const Extent& extent);     // d_x_sums may be given
int64_t norm_backward_scratch(const Extent& extent);  // floats
int launch_norm_backward(const NormBackward& norm, Stream stream);

/// Rows of queries [H · E] | keys [K · E] | values [K · E], E up to 256.
struct HeadColumns {
  int64_t rows, heads, kv_heads, head_width;  // T, H, K, E
};

/// y = x with an RMS norm of each head of the queries and keys by itself; y may be x.
struct NormHeads {
  HeadColumns columns;
  RowsView x, y;
  const float *query_weight, *key_weight;  // [E]
  float epsilon;
};
int launch_norm_heads(const NormHeads& norm, Stream stream);

/// The gradient of y becomes that of x, in place. Those of the weights are added to.
struct NormHeadsBackward {
  HeadColumns columns;
  RowsView x, d;
  const float *query_weight, *key_weight;
  float epsilon;
  float *d_query_weight, *d_key_weight;  // [E]
  float* scratch;                        // null: no gradients of weights are wanted
};
int64_t norm_heads_scratch(const HeadColumns& columns);  // floats
int launch_norm_heads_backward(const NormHeadsBackward& norm, Stream stream);

// Elementwise.

/// y = first + drop(second); first null: y = drop(second). y may be either.
struct Add {
  Extent extent;
  RowsView first, second, y;
  DropoutKey dropout;
};
int launch_add(const Add& add, Stream stream);

/// y = drop(f(x)); y may be x.
struct Activate {
  Extent extent;
  RowsView x, y;
  Activation activation;
  DropoutKey dropout;
};
int launch_activate(const Activate& activate, Stream stream);

/// d_x = f′(x) ∘ drop(d_y); d_x may be d_y. With relu, x may also be f(x), before dropout.
struct ActivateBackward {
  Extent extent;
  RowsView x, d_y, d_x;
  Activation activation;
  DropoutKey dropout;
};
int launch_activate_backward(const ActivateBackward& activate, Stream stream);

/// y [rows, width] = drop(f(x[:, :width]) ∘ x[:, width:]).
struct Glu {
  Extent extent;  // of y
  RowsView x, y;
  Activation activation;
  DropoutKey dropout;
};
int launch_glu(const Glu& glu, Stream stream);

struct GluBackward {
  Extent extent;  // of y
  RowsView x, d_y, d_x;
  Activation activation;
  DropoutKey dropout;
};
int launch_glu_backward(const GluBackward& glu, Stream stream);

/// sums[n] += factor · Σ_r x[r, n].
struct ColumnSums {
  Extent extent;
  RowsView x;
  float factor;
  float* sums;
  float* scratch;
};
int64_t column_sums_scratch(const Extent& extent);  // floats
int launch_column_sums(const ColumnSums& sums, Stream stream);

/// launch_activate_backward and the column sums of its d_x, in one go over the rows.
int launch_activate_backward(const ActivateBackward& activate, const ColumnSums& of_d_x,
                             Stream stream);

/// Turns the first `heads` heads of each row by its position, in place: (a, b) at (e, e + E / 2)
/// becomes (a cos − b sin, b cos + a sin). direction −1 turns back.
struct Turn {
  int64_t rows, heads, head_width;
  RowsView x;
  const int32_t* positions;  // [rows]
  const float* table;        // [positions, E]: cos | sin
  float direction;
};
int launch_turn(const Turn& turn, Stream stream);

// Embeddings.

/// y[r] = drop(table[tokens[r]] · scale + positions[of_row[r]]); token −1: the zero vector.
struct Embed {
  Extent extent;
  const int32_t* tokens;  // [rows]
  const BFloat16* table;  // [V, D], without gaps, as y
  float scale;
  const float* positions;  // [P, D] or null
  const int32_t* of_row;   // [rows]
  DropoutKey dropout;
  RowsView y;
};
int launch_embed(const Embed& embed, Stream stream);

/// Rows in groups that are added up: group g is rows order[starts[g]] … order[starts[g + 1] − 1].
/// A place of the table may have several groups, which then follow each other: group g adds to row
/// targets[g]. Groups are short (kGroupRows), so that no block has much more to do than another.
struct RowGroups {
  const int32_t *order, *starts, *targets;  // [rows with a target], [groups + 1], [groups]
  int32_t groups;
};
inline constexpr int32_t kGroupRows = 32;

/// d_table[targets[g]] += scale · Σ drop(d_y[r]) over the group's rows; groups of one target are
/// added in their order.
struct ScatterRows {
  Extent extent;
  RowsView d_y;
  RowGroups groups;
  float scale;
  DropoutKey dropout;
  float* d_table;  // f32 [·, D]
  float* scratch;
};
int64_t scatter_rows_scratch(const Extent& extent, const RowGroups& groups);  // floats
int launch_scatter_rows(const ScatterRows& scatter, Stream stream);

/// y[t] = Σ factors[i] · x[i] over i = order[j] with starts[t] ≤ j < starts[t + 1]; zeros where
/// there is none. Sums are f32, in that order.
struct SumRows {
  Extent extent;          // of y
  const int32_t* order;   // [rows of x]
  const int32_t* starts;  // [rows of y + 1]
  const float* factors;   // [rows of x] or null: 1 each
  RowsView x, y;
};
int launch_sum_rows(const SumRows& sum, Stream stream);

// SSRU (ssru.h): gates [T, 2D] → out [T, D]; sequence s is rows offsets[s] … offsets[s + 1] − 1.

struct SsruScan {
  int64_t sequences, width;  // D
  const int32_t* offsets;
  RowsView gates, out;
};
int launch_ssru_scan(const SsruScan& scan, Stream stream);

/// d_gates is overwritten. `cells`, f32 [T, D], is scratch.
struct SsruScanBackward {
  int64_t sequences, width;
  const int32_t* offsets;
  RowsView gates, d_out, d_gates;
  float* cells;
};
int launch_ssru_scan_backward(const SsruScanBackward& scan, Stream stream);

// The loss (cross_entropy.h) of rows whose logits are known; they become their own gradients.

/// One row's part of CrossEntropySums, before the sum over rows.
struct RowLoss {
  float loss, nll;  // times the row's weight; NaN as soon as a logit is
  float weight;     // 0 without a label
  int32_t correct;
  float mean_logit = 0;
};

struct CrossEntropyRows {
  int64_t rows, vocabulary;
  RowsView logits;        // [rows, V]; what stands behind column V is left alone
  const int32_t* labels;  // [rows], −1: no loss
  const float* weights;   // [rows] or null
  float label_smoothing, z_loss, gradient_scale;
  float teacher_weight;
  const int32_t* teacher_ids;  // [rows, teacher_count]
  const float* teacher_log_probabilities;
  int32_t teacher_count;
  bool wants_gradient;
  RowLoss* losses;  // [rows]
};
int launch_cross_entropy(const CrossEntropyRows& rows, Stream stream);

struct LossTotals {
  double loss, nll, weight;
  int64_t tokens, correct;
};
/// totals += Σ losses. One block, always in the same order.
int launch_sum_losses(const RowLoss* losses, int64_t rows, LossTotals* totals, Stream stream);

// The optimiser: arrays as long as all parameters together, of any alignment, though quicker when
// they begin at multiples of 16 bytes.

struct AdamWUpdate {
  int64_t count;
  int64_t decayed;  // the first so many elements decay
  float *values, *means, *squares;
  float* averages;  // or null
  const float* gradients;
  BFloat16* copies;  // = values, rounded; or null
  float scale;       // this and the others as in train/adamw.cpp
  double beta1, beta2;
  float keep, rate, root, epsilon;
  double average_decay;
};
int launch_adamw(const AdamWUpdate& update, Stream stream);

/// to[n, k] = factor · from[n, k] rounded to the nearest of its row's int8 levels; [N, K].
struct RoundRows {
  int64_t rows, columns;
  const float* from;
  float factor;
  BFloat16* to;
};
int launch_round_rows(const RoundRows& round, Stream stream);

/// At most kStateBlock numbers [begin, begin + count) of one parameter. Their moments have 8 bits a
/// number, or stand in f32 from place `plain` on.
inline constexpr int kStateBlock = 256;
struct StateBlock {
  int64_t begin, plain;  // −1: 8 bits
  int32_t count, decays;
};

/// Moments as train/moment.h has them; S blocks.
struct EightBitState {
  const StateBlock* blocks;
  int64_t block_count;
  const float* codes;                   // [2, 256]: with a sign, without
  int8_t *mean_places, *square_places;  // as long as the parameters
  float *mean_sizes, *square_sizes;     // [S]
  float *plain_means, *plain_squares;
};

/// The same with such moments; of `update`, count, decayed, means and squares are not looked at.
int launch_adamw(const AdamWUpdate& update, const EightBitState& state, Stream stream);

/// *sum = Σ values², in double; scratch [kSquareBlocks] doubles.
inline constexpr int kSquareBlocks = 1024;
int launch_sum_squares(const float* values, int64_t count, double* scratch, double* sum,
                       Stream stream);

/// *first = the least i with values[i] not finite, or count.
int launch_first_not_finite(const float* values, int64_t count, int64_t* first, Stream stream);

/// to[i] = factor · from[i], rounded to one of the halves.
int launch_convert(const float* from, int64_t count, float factor, BFloat16* to, Half half,
                   Stream stream);

/// a ⇄ b; `copies`, unless null, = the new a, rounded.
int launch_swap(float* a, float* b, int64_t count, BFloat16* copies, Stream stream);

}  // namespace heddle::ops::cuda
