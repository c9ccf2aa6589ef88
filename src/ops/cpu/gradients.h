// The backward of the row-wise kernels (elementwise.h, functions.h).
#pragma once

#include <cmath>

#include "heddle/ops/cpu/functions.h"
#include "heddle/ops/cpu/plain_product.h"

namespace heddle::ops::cpu {

/// f′(x).
template <typename V>
inline Lanes<V> derivative(Activation activation, const Lanes<V>& x) {
  using L = Lanes<V>;
  const L zero = L::set(0.0f), one = L::set(1.0f);
  switch (activation) {
    case Activation::none:
      return one;
    case Activation::relu:
      return L::select_below(zero, x, one, zero);
    case Activation::gelu: {
      const L density = exp<V>(L::set(-0.5f) * (x * x)) * L::set(0.398942280f);  // 1 / sqrt(2π)
      return normal_distribution<V>(x) + x * density;
    }
    case Activation::gelu_tanh: {
      const L square = x * x, scale = L::set(1.59576912f);  // 2 · sqrt(2 / π)
      const L s = sigmoid<V>(scale * (x + L::set(0.044715f) * (square * x)));
      const L inner = scale * (one + L::set(0.134145f) * square);
      return s + x * (s * (one - s)) * inner;
    }
    case Activation::silu: {
      const L s = sigmoid<V>(x);
      return s + x * (s * (one - s));
    }
    case Activation::sigmoid: {
      const L s = sigmoid<V>(x);
      return s * (one - s);
    }
    case Activation::tanh: {
      const L t = tanh<V>(x);
      return one - t * t;
    }
  }
  return one;
}

template <typename V>
void activate_backward(const float* x, const float* d_y, int64_t width, Activation activation,
                       float* d_x) {
  using L = Lanes<V>;
  for_lanes(width, [&](int64_t i, int64_t count) {
    const L slope = derivative<V>(activation, L::load_first(x + i, count));
    (L::load_first(d_y + i, count) * slope).store_first(d_x + i, count);
  });
}

template <typename V>
void glu_backward(const float* x, const float* d_y, int64_t width, Activation activation,
                  float* d_x) {
  using L = Lanes<V>;
  for_lanes(width, [&](int64_t i, int64_t count) {
    const L gate = L::load_first(x + i, count), value = L::load_first(x + width + i, count);
    const L d = L::load_first(d_y + i, count);
    (d * value * derivative<V>(activation, gate)).store_first(d_x + i, count);
    (d * apply<V>(activation, gate)).store_first(d_x + width + i, count);
  });
}

/// With n = (s − mean) · factor and u = d_y ∘ weight:
///   d_s = factor · (u − mean(u) − n ∘ mean(u ∘ n)); RMS norms leave out the means of s and u.
template <typename V>
void norm_backward(const NormBackwardRow& row) {
  using L = Lanes<V>;
  const float width = static_cast<float>(row.width);
  L total = L::set(0.0f), squares = total, sum_u = total, sum_un = total;
  for_lanes(row.width, [&](int64_t i, int64_t count) {
    L s = L::load_first(row.x + i, count);
    if (row.residual != nullptr) s = s + L::load_first(row.residual + i, count);
    s.store_first(row.d_sum + i, count);
    total = total + s;
  });
  const float mean = row.subtract_mean ? total.sum() / width : 0.0f;
  for_lanes(row.width, [&](int64_t i, int64_t count) {
    const L d = L::load_first(row.d_sum + i, count, mean) - L::set(mean);
    squares = squares + d * d;
  });
  const L factor = L::set(1.0f / std::sqrt(squares.sum() / width + row.epsilon));
  for_lanes(row.width, [&](int64_t i, int64_t count) {
    const L n = (L::load_first(row.d_sum + i, count, mean) - L::set(mean)) * factor;
    const L d_y = L::load_first(row.d_y + i, count);
    const L u = d_y * L::load_first(row.weight + i, count);
    sum_u = sum_u + u;
    sum_un = sum_un + u * n;
    if (row.d_weight != nullptr) {
      (L::load_first(row.d_weight + i, count) + d_y * n).store_first(row.d_weight + i, count);
    }
    if (row.d_bias != nullptr) {
      (L::load_first(row.d_bias + i, count) + d_y).store_first(row.d_bias + i, count);
    }
  });
  const L mean_u = L::set(row.subtract_mean ? sum_u.sum() / width : 0.0f);
  const L mean_un = L::set(sum_un.sum() / width);
  for_lanes(row.width, [&](int64_t i, int64_t count) {
    const L n = (L::load_first(row.d_sum + i, count) - L::set(mean)) * factor;
    const L u = L::load_first(row.d_y + i, count) * L::load_first(row.weight + i, count);
    (factor * (u - mean_u - n * mean_un)).store_first(row.d_sum + i, count);
  });
}

template <typename V>
void ssru_backward(const SsruBackwardRow& row) {
  using L = Lanes<V>;
  const L zero = L::set(0.0f), one = L::set(1.0f);
  for_lanes(row.width, [&](int64_t i, int64_t count) {
    const L f = sigmoid<V>(L::load_first(row.forget + i, count));
    const L before = L::load_first(row.before + i, count), x = L::load_first(row.x + i, count);
    const L cell = f * before + (one - f) * x;
    const L d_out = L::select_below(zero, cell, L::load_first(row.d_out + i, count), zero);
    const L d_cell = L::load_first(row.d_cell + i, count) + d_out;
    (d_cell * (one - f)).store_first(row.d_x + i, count);
    (d_cell * (before - x) * (f * (one - f))).store_first(row.d_forget + i, count);
    (d_cell * f).store_first(row.d_cell + i, count);
  });
}

template <typename V>
void add_rows(const float* from, int64_t width, float factor, float* to) {
  using L = Lanes<V>;
  for_lanes(width, [&](int64_t i, int64_t count) {
    (L::load_first(to + i, count) + L::set(factor) * L::load_first(from + i, count))
        .store_first(to + i, count);
  });
}

template <typename V>
inline constexpr GradientKernels kGradientKernels = {.multiply_plain = multiply_plain<V>,
                                                     .norm = norm_backward<V>,
                                                     .ssru = ssru_backward<V>,
                                                     .activate = activate_backward<V>,
                                                     .glu = glu_backward<V>,
                                                     .add = add_rows<V>};

}  // namespace heddle::ops::cpu
