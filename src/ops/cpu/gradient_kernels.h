// What the backward of an operation asks of an instruction set; part of Kernels (kernels.h), with
// the same rules of arithmetic.
#pragma once

#include <cstdint>

#include "heddle/ops/activation.h"

namespace heddle::ops::cpu {

/// c[i, j] = Σ_t factor · a[i, t] · b[t, j], or that added to c. Both gradients of a projection:
/// d_x = d_y · W, and d_W = d_yᵀ · x with a's strides exchanged.
struct PlainProduct {
  const float* a;  ///< element [i, t] at i · a_row + t · a_depth
  int64_t a_row, a_depth;
  const float* b;  ///< [depth, columns], rows b_stride apart
  int64_t b_stride;
  int64_t rows, columns, depth;
  float factor;
  bool adds;
  float* c;  ///< [rows, columns], rows c_stride apart
  int64_t c_stride;
  float* scratch;  ///< PlainProduct::scratch_floats(columns)

  static constexpr int64_t kDepth = 256;  ///< of a block, whose parts stay in the caches
  static constexpr int64_t kRows = 96;
  static int64_t scratch_floats(int64_t columns) {
    return kDepth * ((columns + 15) / 16 * 16 + kRows);
  }
};

/// One row of a norm: its input, and the gradients of its output and of the sum x + residual.
struct NormBackwardRow {
  const float* x;
  const float* residual;  ///< or null
  const float* weight;
  int64_t width;
  float epsilon;
  bool subtract_mean;
  const float* d_y;
  float* d_sum;     ///< overwritten
  float* d_weight;  ///< added to; null: it is not trained
  float* d_bias;    ///< added to, or null
};

/// One step of an SSRU: c = f ∘ before + (1 − f) ∘ x with f = sigmoid(forget), out = relu(c).
struct SsruBackwardRow {
  const float* x;
  const float* forget;
  const float* before;  ///< the cell
  const float* d_out;
  int64_t width;
  float* d_cell;    ///< of c, beside what comes from out; becomes that of `before`
  float* d_x;       ///< overwritten
  float* d_forget;  ///< overwritten
};

struct GradientKernels {
  void (*multiply_plain)(const PlainProduct& product);
  void (*norm)(const NormBackwardRow& row);
  void (*ssru)(const SsruBackwardRow& row);
  /// d_x = d_y ∘ f′(x); d_x may be d_y.
  void (*activate)(const float* x, const float* d_y, int64_t width, Activation activation,
                   float* d_x);
  /// Of y = f(x[:width]) ∘ x[width:]; d_x [2 · width].
  void (*glu)(const float* x, const float* d_y, int64_t width, Activation activation, float* d_x);
  void (*add)(const float* from, int64_t width, float factor, float* to);  ///< to += factor · from
};

}  // namespace heddle::ops::cpu
