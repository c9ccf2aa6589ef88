// y = f(x·Wᵀ + bias) + residual: every projection of a model.
#pragma once

#include <span>

#include "heddle/ops/activation.h"
#include "heddle/ops/matrix.h"
#include "heddle/ops/rows.h"

namespace heddle::ops {

struct Epilogue {
  const float* bias = nullptr;  ///< [N]
  Activation activation = Activation::none;
  const Rows* residual = nullptr;  ///< [R, N], added last; may be y itself
  Next next{};                     ///< the int8 copy of y, e.g. for the second half of an FFN
};

/// x [R, K], w [N, K] → y [R, N]. Row r of y depends on row r of x alone, to the bit.
void linear(Rows& x, const Matrix& w, const Epilogue& epilogue, Rows& y, Workspace& workspace);

/// One of the weights that stand above each other in a matrix: N rows of it are factor · values.
struct LinearWeight {
  const float* values;  ///< [N, K], as they are stored, f32
  int64_t rows;         ///< N
  float factor = 1;
  float* d_values;          ///< [N, K], added to; null: the weight is not trained
  float* d_bias = nullptr;  ///< [N], added to; null without a bias
  float bias_factor = 1;
};

/// Of y = x · Wᵀ + bias with W made of `weights`: from d_y [R, ΣN] their gradients, and
/// d_x [R, K], overwritten or added to; d_x.values null: not wanted.
struct LinearGradients {
  PlainRows d_y, d_x;
  bool adds;
};
void linear_backward(const Rows& x, std::span<const LinearWeight> weights,
                     const LinearGradients& gradients, Workspace& workspace);

}  // namespace heddle::ops
