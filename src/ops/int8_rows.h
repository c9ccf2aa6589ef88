// int8 by rows: a row's levels are −127 … 127 times its own step.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "heddle/tensor/tensor.h"

namespace heddle::ops {

inline constexpr float kMostLevel = 127;

/// The step of a row: its largest |w| becomes the last level. A row of zeros has step 1.
inline float int8_step(std::span<const float> row) {
  float largest = 0;
  for (const float value : row) largest = std::max(largest, std::abs(value));
  return largest > 0 ? largest / kMostLevel : 1.0f;
}

/// The level nearest to a value.
inline float int8_level(float value, float step) {
  return std::clamp(std::nearbyint(value / step), -kMostLevel, kMostLevel);
}

/// `to` becomes what int8 would hold of `from`; both [N, K] f32.
void round_to_int8(const Tensor& from, Tensor& to);

}  // namespace heddle::ops
