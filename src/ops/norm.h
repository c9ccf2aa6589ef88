// Layer norm and RMS norm over rows, with the residual sum before and the int8 copy after.
#pragma once

#include <span>

#include "heddle/ops/activation.h"

namespace heddle::ops {

struct Norm {
  const float* weight;          ///< [D]
  const float* bias = nullptr;  ///< [D], or none
  float epsilon = 1e-6f;
};

/// s = x + residual (x alone when null); y = (s − mean) / sqrt(variance + epsilon) · weight + bias.
/// y [R, D] may be x or residual. Sums are in f32, of pairs of squares after the mean is taken off.
void layer_norm(const Rows& x, const Rows* residual, const Norm& norm, const Next& next, Rows& y,
                Workspace& workspace);

/// y = s / sqrt(mean of s² + epsilon) · weight + bias.
void rms_norm(const Rows& x, const Rows* residual, const Norm& norm, const Next& next, Rows& y,
              Workspace& workspace);

/// The gradients of a norm: d_sum [R, D] of s, hence of x and of the residual, is overwritten and
/// may not be d_y; those of weight and bias [D] are added to, d_bias null without a bias.
struct NormGradients {
  PlainRows d_y, d_sum;
  float* d_weight;
  float* d_bias;
};
void layer_norm_backward(const Rows& x, const Rows* residual, const Norm& norm,
                         const NormGradients& gradients, Workspace& workspace);
void rms_norm_backward(const Rows& x, const Rows* residual, const Norm& norm,
                       const NormGradients& gradients, Workspace& workspace);

/// Heads side by side in each row that share a norm: columns [first, first + heads · width).
struct HeadNorm {
  int64_t first, heads, width;
  Norm norm;  ///< weight [width]; a bias counts as none
};

/// y = x with an RMS norm of each of these heads by itself; other columns are copied. y may be x.
void norm_heads(const Rows& x, std::span<const HeadNorm> norms, Rows& y, Workspace& workspace);

/// d_x [R, W] is overwritten and may not be d_y; d_weights, one [width] a norm, are added to.
void norm_heads_backward(const Rows& x, std::span<const HeadNorm> norms, PlainRows d_y,
                         PlainRows d_x, std::span<float* const> d_weights, Workspace& workspace);

}  // namespace heddle::ops
