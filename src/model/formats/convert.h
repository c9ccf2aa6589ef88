// What several formats do to tensors between file and model.
#pragma once

#include <cstdint>

#include "heddle/model/config.h"
#include "heddle/model/parameters.h"
#include "heddle/tensor/tensor.h"

namespace heddle::model {

/// [M, N] → [N, M], of any element type, as a new tensor.
Tensor transposed(const Tensor& matrix);

/// The table [positions, D] of a sinusoidal kind, from position `first` on.
Tensor sinusoids(Positions kind, int64_t positions, int64_t width, int64_t first = 0);

/// The output's bias [V] with what the model never writes made impossible, for formats that cannot
/// say so otherwise; undefined when it may write everything.
Tensor forbidding_bias(const ModelFiles& model);

/// values + amount, as f32: between what Gemma's files hold of a norm and what it multiplies by.
Tensor shifted(const Tensor& values, float amount);

}  // namespace heddle::model
