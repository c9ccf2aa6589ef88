// DoRA's part of a projection (decompose.cu): rows and arrays as in launch.h.
#pragma once

#include "heddle/ops/cuda/launch.h"

namespace heddle::ops::cuda {

/// gain[n] = magnitude[n] / ‖W[n] + change[n]‖, and 1 / ‖…‖.
struct Gains {
  Extent extent;           // of W: [N, K]
  const BFloat16* weight;  // W, without gaps
  const float *change, *magnitude;
  float *gain, *inverse_length;  // [N]
};
int launch_gains(const Gains& gains, Stream stream);

/// y += (gain − 1) ∘ plain + gain ∘ moved.
struct Decompose {
  Extent extent;  // [R, N]
  RowsView plain, moved, y;
  const float* gain;
};
int launch_decompose(const Decompose& decompose, Stream stream);

/// All three results are overwritten; the column sums of the slopes are the gradient of the
/// magnitudes. d_moved may be moved.
struct DecomposeBackward {
  Extent extent;
  RowsView plain, moved, d_y, d_plain, d_moved, slopes;
  const float *gain, *inverse_length;
};
int launch_decompose_backward(const DecomposeBackward& decompose, Stream stream);

}  // namespace heddle::ops::cuda
