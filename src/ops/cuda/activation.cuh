// The functions of ops/activation.h and their slopes, by the formulas of ops/cpu/functions.h.
#pragma once

#include "heddle/ops/cuda/common.cuh"

namespace heddle::ops::cuda {

__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + fast_exp(-x)); }

/// An odd polynomial near 0, where 1 − 2 / (e^2x + 1) would lose digits, else that.
__device__ inline float fast_tanh(float x) {
  const float u = x * x, size = fabsf(x);
  float p = -5.70498872745e-3f;
  p = p * u + 2.06390887954e-2f;
  p = p * u - 5.37397155531e-2f;
  p = p * u + 1.33314422036e-1f;
  p = p * u - 3.33332819422e-1f;
  const float large = 1.0f - __fdividef(2.0f, fast_exp(2 * size) + 1.0f);
  return size < 0.625f ? p * u * x + x : copysignf(large, x);  // NaN stays NaN
}

/// Φ(x): Abramowitz and Stegun 7.1.26, absolute error below 1e-7.
__device__ inline float normal_distribution(float x) {
  const float size = fabsf(x) * 0.70710678f;
  const float t = __fdividef(1.0f, 1.0f + 0.3275911f * size);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const float tail = 0.5f * (p * t) * fast_exp(-size * size);
  return x < 0 ? tail : 1.0f - tail;
}

/// f(x) and f′(x). Callers that use one of them pay for that one.
struct ValueAndSlope {
  float value, slope;
};

__device__ inline ValueAndSlope gelu(float x) {
  const float below = normal_distribution(x);
  const float density = fast_exp(-0.5f * (x * x)) * 0.398942280f;  // 1 / sqrt(2π)
  return {x * below, below + x * density};
}

__device__ inline ValueAndSlope gelu_tanh(float x) {
  constexpr float kScale = 1.59576912f;  // 2 · sqrt(2 / π)
  const float square = x * x;
  const float s = sigmoid(kScale * (x + 0.044715f * (square * x)));
  const float inner = kScale * (1.0f + 0.134145f * square);
  return {x * s, s + x * (s * (1.0f - s)) * inner};
}

__device__ inline ValueAndSlope silu(float x) {
  const float s = sigmoid(x);
  return {x * s, s + x * (s * (1.0f - s))};
}

/// body(i, f(x[i]), f′(x[i])) for i < 8.
template <typename Body>
__device__ void each_activated(Activation activation, const Eight& x, const Body& body) {
  const auto each = [&](const auto& function) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const ValueAndSlope result = function(x.at[i]);
      body(i, result.value, result.slope);
    }
  };
  switch (activation) {
    case Activation::none:
      return each([](float v) { return ValueAndSlope{v, 1.0f}; });
    case Activation::relu:  // NaN stays NaN
      return each([](float v) {
        return ValueAndSlope{0.0f > v ? 0.0f : v, 0.0f < v ? 1.0f : 0.0f};
      });
    case Activation::gelu:
      return each([](float v) { return gelu(v); });
    case Activation::gelu_tanh:
      return each([](float v) { return gelu_tanh(v); });
    case Activation::silu:
      return each([](float v) { return silu(v); });
    case Activation::sigmoid:
      return each([](float v) {
        const float s = sigmoid(v);
        return ValueAndSlope{s, s * (1.0f - s)};
      });
    case Activation::tanh:
      return each([](float v) {
        const float t = fast_tanh(v);
        return ValueAndSlope{t, 1.0f - t * t};
      });
  }
}

/// One vector of an activation's backward: writes d_x and returns it as it was before rounding.
__device__ inline Eight activate_back(const ActivateBackward& p, const Place& at) {
  const Eight x = unpack(vector_at(p.x, at));
  Eight d = unpack(vector_at(p.d_y, at));
  drop(p.dropout, at, d);
  each_activated(p.activation, x, [&](int i, float, float slope) { d.at[i] *= slope; });
  vector_at(p.d_x, at) = pack(d);
  return d;
}

}  // namespace heddle::ops::cuda
