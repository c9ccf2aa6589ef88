// What several formats do to tensors between file and model.
#pragma once

#include <cstdint>

#include "heddle/model/config.h"
#include "heddle/tensor/tensor.h"

namespace heddle::model {

/// [M, N] → [N, M], of any element type, as a new tensor.
Tensor transposed(const Tensor& matrix);

/// The table [positions, D] of a sinusoidal kind, from position `first` on.
Tensor sinusoids(Positions kind, int64_t positions, int64_t width, int64_t first = 0);

/// values + amount, as f32: between what Gemma's files hold of a norm and what it multiplies by.
Tensor shifted(const Tensor& values, float amount);

}  // namespace heddle::model
