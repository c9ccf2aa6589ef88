// The operations of a model on a GPU, each with its way back: as ../functions.h, but in bf16, with
// dropout fused where a kernel reads the rows anyway, and recorded only where there is a tape.
// Weights' gradients are f32. y is bound to fresh rows where it has been written before; without a
// tape it is overwritten.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "heddle/attention/attention.h"
#include "heddle/autograd/cuda/tape.h"
#include "heddle/mask/device_mask.h"
#include "heddle/ops/cuda/launch.h"

namespace heddle::autograd::cuda {

using ops::cuda::DropoutKey;
using ops::cuda::Rows;

/// Where an operation runs, and what it is recorded on, if anything.
struct Run {
  Machine& machine;
  Tape* tape;
  /// Without a tape, too, products have the bits that they have with one: cuBLASLt's sums in place
  /// may be others.
  bool sums_apart = false;

  Rows rows(int64_t count, int64_t width) const;  ///< new ones, on the tape if there is one
  void result(Rows& y) const {
    if (tape != nullptr) tape->result(y);
  }
};

/// Columns [begin, end) of a projection's output that one parameter's weights, or biases, make.
struct ParameterRange {
  int64_t begin, end;
  float factor;     ///< of the parameter in the projection
  float* d_values;  ///< f32 [end − begin, K] or [end − begin], added to
};

/// One or several projections of the same input as one matrix.
struct Linear {
  const BFloat16* weight;  ///< [N, K]
  const BFloat16* bias;    ///< [N] or null
  int64_t out, in;         ///< N, K
  std::span<const ParameterRange> weights, biases;
};

/// Off the tape; neither is to lie in the other.
void copy(Machine& machine, const Rows& from, const Rows& to);

/// y = f(x · Wᵀ + bias) + residual. The activation's rows before it are kept unless it is relu.
void linear(const Run& run, const Rows& x, const Linear& weights, ops::Activation activation,
            const Rows* residual, Rows& y);

/// What an adapter adds to a projection, C matrices of which each changes some of its columns:
/// scale · B · (A x), the matrices A above each other as one. With DoRA columns become
/// gain ∘ (W x + scale · B · (A x)).
struct LowRankProducts {
  struct Up {
    int64_t begin, end;      ///< columns of y
    const BFloat16* weight;  ///< B [end − begin, r]
    float* d_weight;         ///< f32, added to

    // Of DoRA alone, [end − begin]; null without.
    const BFloat16* base = nullptr;  ///< W [end − begin, K]
    const float *gain = nullptr, *inverse_length = nullptr;
    float* d_magnitude = nullptr;
  };
  Linear down;  ///< [C · r, K]
  std::span<const Up> ups;
  int64_t rank;  ///< r
  float scale;
};

/// y += what an adapter makes of x, in place; y has W x already.
void add_low_rank(const Run& run, const Rows& x, const LowRankProducts& low, const Rows& y);

struct Norm {
  const float *weight, *bias;  ///< [D]; bias may be null
  float *d_weight, *d_bias;
  float epsilon;
  bool subtracts_mean;
};

/// y = norm(drop(x) + residual). With a tape and a sum, the sum takes x's place.
void norm(const Run& run, const Rows& x, const Rows* residual, const Norm& norm,
          const DropoutKey& dropout, Rows& y);

/// Of rows of queries | keys | values, H, K and K heads of E columns.
struct HeadNorms {
  int64_t heads, kv_heads, head_width;
  const float *query_weight, *key_weight;  ///< [E]
  float *d_query_weight, *d_key_weight;
  float epsilon;
};

/// y = x with an RMS norm of each head of the queries and keys by itself.
void norm_heads(const Run& run, const Rows& x, const HeadNorms& norms, Rows& y);

/// y = f(x[:, :F]) ∘ x[:, F:].
void glu(const Run& run, const Rows& x, ops::Activation activation, Rows& y);

/// x = x + drop(y).
void add(const Run& run, const Rows& y, const DropoutKey& dropout, Rows& x);

/// x = drop(x).
void drop(const Run& run, const DropoutKey& dropout, Rows& x);

void ssru_scan(const Run& run, const Rows& gates, const int32_t* offsets, int64_t sequences,
               Rows& y);

struct Embedding {
  const int32_t* tokens;  ///< on the GPU, as all pointers here
  const BFloat16* table;
  float scale;
  const float* positions;  ///< or null
  const int32_t* of_row;
  float *d_table, *d_positions;                ///< the latter null unless learned
  ops::cuda::RowGroups by_token, by_position;  ///< rows in groups of one table row
};
void embed(const Run& run, const Embedding& embedding, Rows& y);

/// Turns the first `heads` heads of x by their positions, in place.
struct Rotation {
  int64_t heads, head_width;
  const int32_t* positions;
  const float* table;
};
void turn(const Run& run, const Rotation& rotation, const Rows& x);

/// Queries [Tq, H · E], keys and values [Tk, K · E]: whole rows or columns of wider ones.
struct AttentionRows {
  Rows q, k, v;
  int64_t heads, kv_heads;
  std::optional<double> scale{};  ///< 1 / √E when not given
};
void attention(const Run& run, const AttentionRows& rows, const ColumnMask& mask,
               DeviceMask& device_mask, Rows& out);

}  // namespace heddle::autograd::cuda
