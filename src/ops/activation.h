// Elementwise functions, gated linear units, and softmax over rows.
#pragma once

#include "heddle/ops/rows.h"

namespace heddle::ops {

/// gelu: x·Φ(x); gelu_tanh: its tanh approximation; silu (swish): x·sigmoid(x).
enum class Activation : uint8_t { none, relu, gelu, gelu_tanh, silu, sigmoid, tanh };

/// What a producer of rows leaves behind for the matrix that reads them.
struct Next {
  float step = 0;           ///< > 0: fills the int8 copy for this step at once
  bool only_codes = false;  ///< … and leaves the f32 values unwritten
};

/// x = f(x), in place.
void activate(Rows& x, Activation activation, Workspace& workspace);

/// y = f(x[:, :F]) ∘ x[:, F:]; x [R, 2F] of a stacked gate and value projection, y [R, F].
void glu(const Rows& x, Activation activation, const Next& next, Rows& y, Workspace& workspace);

/// d_x = d_y ∘ f′(x), rows [R, F]; d_x may be d_y.
void activate_backward(const Rows& x, Activation activation, PlainRows d_y, PlainRows d_x,
                       Workspace& workspace);

/// The gradient of glu's x [R, 2F], overwritten; d_y [R, F].
void glu_backward(const Rows& x, Activation activation, PlainRows d_y, PlainRows d_x,
                  Workspace& workspace);

/// x = softmax(x) or log softmax(x) over each row, in place; returns ln Σ exp in log_sums [R]
/// unless null.
void softmax(Rows& x, float* log_sums, Workspace& workspace);
void log_softmax(Rows& x, float* log_sums, Workspace& workspace);

}  // namespace heddle::ops
