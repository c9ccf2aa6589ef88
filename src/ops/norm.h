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

}  // namespace heddle::ops
