// y = f(x·Wᵀ + bias) + residual: every projection of a model.
#pragma once

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

}  // namespace heddle::ops
