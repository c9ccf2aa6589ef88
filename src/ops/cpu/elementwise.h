// The row-wise kernels: quantisation, norms, activations, softmax, SSRU.
#pragma once

#include <cmath>
#include <limits>

#include "heddle/ops/cpu/functions.h"
#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops::cpu {

template <typename V>
void quantize(const float* x, int64_t width, float inverse_step, int zero, uint8_t* codes) {
  for_lanes(width, [&](int64_t i, int64_t count) {
    Lanes<V>::load_first(x + i, count).store_codes(inverse_step, zero, codes + i);
  });
}

template <typename V>
float largest(const float* x, int64_t width) {
  using L = Lanes<V>;
  L most = L::set(0.0f);
  for_lanes(width, [&](int64_t i, int64_t count) {
    most = L::max(L::abs(L::load_first(x + i, count)), most);  // the second one where NaN
  });
  return most.largest();
}

template <typename V>
void norm(const NormRow& row) {
  using L = Lanes<V>;
  const auto sum_at = [&](int64_t i, int64_t count) {
    const L x = L::load_first(row.x + i, count);
    return row.residual == nullptr ? x : x + L::load_first(row.residual + i, count);
  };
  const float width = static_cast<float>(row.width);
  L total = L::set(0.0f), squares = L::set(0.0f);
  for_lanes(row.width, [&](int64_t i, int64_t count) {
    const L s = sum_at(i, count);
    s.store_first(row.sums + i, count);
    total = total + s;
  });
  const float mean = row.subtract_mean ? total.sum() / width : 0.0f;
  for_lanes(row.width, [&](int64_t i, int64_t count) {
    const L d = L::load_first(row.sums + i, count, mean) - L::set(mean);
    squares = squares + d * d;
  });
  const L factor = L::set(1.0f / std::sqrt(squares.sum() / width + row.epsilon));
  for_lanes(row.width, [&](int64_t i, int64_t count) {
    L y = (L::load_first(row.sums + i, count) - L::set(mean)) * factor;
    y = y * L::load_first(row.weight + i, count);
    if (row.bias != nullptr) y = y + L::load_first(row.bias + i, count);
    if (row.y != nullptr) y.store_first(row.y + i, count);
    if (row.codes != nullptr) y.store_codes(row.inverse_step, 127, row.codes + i);
  });
}

template <typename V>
void activate(float* x, int64_t width, Activation activation) {
  for_lanes(width, [&](int64_t i, int64_t count) {
    apply<V>(activation, Lanes<V>::load_first(x + i, count)).store_first(x + i, count);
  });
}

template <typename V>
void glu(const float* gate, const float* x, int64_t width, Activation activation, float* y) {
  using L = Lanes<V>;
  for_lanes(width, [&](int64_t i, int64_t count) {
    const L f = apply<V>(activation, L::load_first(gate + i, count));
    (f * L::load_first(x + i, count)).store_first(y + i, count);
  });
}

template <typename V>
float exponentials(float* x, int64_t width, float* max) {
  using L = Lanes<V>;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  L most = L::set(std::numeric_limits<float>::lowest());
  for_lanes(width, [&](int64_t i, int64_t count) {
    most = L::max(L::load_first(x + i, count, kNone), most);
  });
  *max = most.largest();
  L total = L::set(0.0f);
  for_lanes(width, [&](int64_t i, int64_t count) {
    const L distance = L::load_first(x + i, count, kNone) - L::set(*max);
    // exp is bounded below; what lies under its range counts as nothing.
    const L e = L::select_below(distance, L::set(-87.0f), L::set(0.0f), exp<V>(distance));
    e.store_first(x + i, count);
    total = total + e;
  });
  return total.sum();
}

template <typename V>
void ssru(const float* x, const float* forget, int64_t width, float* cell, float* out) {
  using L = Lanes<V>;
  for_lanes(width, [&](int64_t i, int64_t count) {
    const L f = sigmoid<V>(L::load_first(forget + i, count));
    const L c =
        f * L::load_first(cell + i, count) + (L::set(1.0f) - f) * L::load_first(x + i, count);
    c.store_first(cell + i, count);
    L::max(L::set(0.0f), c).store_first(out + i, count);
  });
}

template <typename V>
float most(const float* x, int64_t width) {
  using L = Lanes<V>;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  L all = L::set(kNone);
  for_lanes(width, [&](int64_t i, int64_t count) {
    all = L::max(L::load_first(x + i, count, kNone), all);
  });
  return all.largest();
}

}  // namespace heddle::ops::cpu
