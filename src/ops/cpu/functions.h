// Elementary functions on 16 lanes, by multiplications and additions that are rounded one by one.
#pragma once

#include "heddle/ops/activation.h"
#include "heddle/ops/cpu/lanes.h"

namespace heddle::ops::cpu {

/// e^x within 2 ulp for x in [−87, 88]; bounded outside, so that no infinity or subnormal comes
/// out.
template <typename V>
inline Lanes<V> exp(const Lanes<V>& value) {
  using L = Lanes<V>;
  const L x = L::max(L::min(value, L::set(88.0f)), L::set(-87.0f));
  // Adding 1.5 · 2^23 rounds to an integer; 127 more leaves the biased exponent in the low bits.
  const L shift = L::set(12582912.0f + 127.0f);
  const L shifted = x * L::set(1.44269504f) + shift;
  const L n = shifted - shift;
  const L f = (x - n * L::set(0.693359375f)) - n * L::set(-2.12194440e-4f);  // ln 2 in two parts
  L p = L::set(1.9875691500e-4f);
  p = p * f + L::set(1.3981999507e-3f);
  p = p * f + L::set(8.3334519073e-3f);
  p = p * f + L::set(4.1665795894e-2f);
  p = p * f + L::set(1.6666665459e-1f);
  p = p * f + L::set(5.0000001201e-1f);
  return (p * (f * f) + f + L::set(1.0f)) * L::exponent(shifted);
}

template <typename V>
inline Lanes<V> sigmoid(const Lanes<V>& x) {
  using L = Lanes<V>;
  return L::set(1.0f) / (L::set(1.0f) + exp<V>(L::set(0.0f) - x));
}

/// An odd polynomial near 0, where 1 − 2 / (e^2x + 1) would lose digits, else that.
template <typename V>
inline Lanes<V> tanh(const Lanes<V>& x) {
  using L = Lanes<V>;
  const L u = x * x, size = L::abs(x);
  L p = L::set(-5.70498872745e-3f);
  p = p * u + L::set(2.06390887954e-2f);
  p = p * u + L::set(-5.37397155531e-2f);
  p = p * u + L::set(1.33314422036e-1f);
  p = p * u + L::set(-3.33332819422e-1f);
  const L small = p * u * x + x;
  const L large = L::set(1.0f) - L::set(2.0f) / (exp<V>(size + size) + L::set(1.0f));
  const L with_sign = L::select_below(x, L::set(0.0f), L::set(0.0f) - large, large);
  return L::select_below(size, L::set(0.625f), small, with_sign);
}

/// Φ(x): Abramowitz and Stegun 7.1.26, absolute error below 1e-7.
template <typename V>
inline Lanes<V> normal_distribution(const Lanes<V>& x) {
  using L = Lanes<V>;
  const L size = L::abs(x) * L::set(0.70710678f);
  const L t = L::set(1.0f) / (L::set(1.0f) + L::set(0.3275911f) * size);
  L p = L::set(1.061405429f);
  p = p * t + L::set(-1.453152027f);
  p = p * t + L::set(1.421413741f);
  p = p * t + L::set(-0.284496736f);
  p = p * t + L::set(0.254829592f);
  const L tail = L::set(0.5f) * (p * t) * exp<V>(L::set(0.0f) - size * size);
  return L::select_below(x, L::set(0.0f), tail, L::set(1.0f) - tail);
}

/// NaN stays NaN.
template <typename V>
inline __attribute__((always_inline)) Lanes<V> apply(Activation activation, const Lanes<V>& x) {
  using L = Lanes<V>;
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return L::max(L::set(0.0f), x);
    case Activation::gelu:
      return x * normal_distribution<V>(x);
    case Activation::gelu_tanh: {
      const L u = x + L::set(0.044715f) * (x * x * x);
      return x * sigmoid<V>(u * L::set(1.59576912f));  // 2 · sqrt(2 / π)
    }
    case Activation::silu:
      return x * sigmoid<V>(x);
    case Activation::sigmoid:
      return sigmoid<V>(x);
    case Activation::tanh:
      return tanh<V>(x);
  }
  return x;
}

}  // namespace heddle::ops::cpu
