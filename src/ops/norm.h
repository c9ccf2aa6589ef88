// Layer norm and RMS norm over rows, with the residual sum before and the int8 copy after.
#pragma once

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

}  // namespace heddle::ops
