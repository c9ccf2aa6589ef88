// The operations of ops and attention with their way back: each computes as its namesake there and
// records itself. y is bound to fresh rows where it has been written before, so in-place calls mean
// the same with and without a tape; x and y may be one object.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "heddle/attention/attention.h"
#include "heddle/autograd/tape.h"
#include "heddle/ops/activation.h"
#include "heddle/ops/dropout.h"
#include "heddle/ops/embedding.h"
#include "heddle/ops/linear.h"
#include "heddle/ops/norm.h"

namespace heddle::autograd {

/// What a projection reads and where its gradients go; all of it outlives the tape's way back.
struct Linear {
  const ops::Matrix& matrix;
  const float* bias;                           ///< or null
  std::span<const ops::LinearWeight> weights;  ///< what the matrix is made of
};
void linear(Tape& tape, const ops::Rows& x, const Linear& weights, ops::Activation activation,
            const ops::Rows* residual, ops::Rows& y);

struct Norm {
  ops::Norm norm;
  bool subtracts_mean;  ///< layer norm; else RMS norm
  float* d_weight;
  float* d_bias;  ///< null without a bias
};
void norm(Tape& tape, const ops::Rows& x, const ops::Rows* residual, const Norm& norm,
          ops::Rows& y);

/// Norms of the heads of queries and of keys.
struct HeadNorms {
  std::array<ops::HeadNorm, 2> norms;
  std::array<float*, 2> d_weights;
};
void norm_heads(Tape& tape, const ops::Rows& x, const HeadNorms& norms, ops::Rows& y);

/// y = f(x).
void activate(Tape& tape, const ops::Rows& x, ops::Activation activation, ops::Rows& y);

void glu(Tape& tape, const ops::Rows& x, ops::Activation activation, ops::Rows& y);

/// x += y.
void add(Tape& tape, const ops::Rows& y, ops::Rows& x);

/// x = dropout(x).
void drop(Tape& tape, const ops::Dropout& dropout, ops::Rows& x);

void ssru_scan(Tape& tape, const ops::Rows& gates, std::span<const int32_t> offsets, ops::Rows& y);

struct Embedding {
  const ops::Matrix& table;
  float scale;
  ops::Positions positions;
  ops::EmbeddingGradients gradients;
};
void embed(Tape& tape, std::span<const int32_t> tokens, const Embedding& embedding, ops::Rows& y);

/// Queries [Tq, H · E], keys and values [Tk, K · E]: whole rows or columns of wider ones.
struct AttentionRows {
  ops::Rows q, k, v;
  int64_t heads, kv_heads;
  std::optional<double> scale{};  ///< of q·k; 1 / √E when not given
};
struct AttentionMask {
  const ColumnMask* mask;
  const MaskPlan* plan;
};
void attention(Tape& tape, const AttentionRows& rows, const AttentionMask& mask, ops::Rows& out);

}  // namespace heddle::autograd
