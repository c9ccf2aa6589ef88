// One query against a range of keys, head by head:
//
//   s[j] = q·k[j], as many keys at once as there are lanes;  p = exp2(s − max s);
//   out = Σ_j p[j] · v[j] / Σ p
#pragma once

#include <limits>

#include "heddle/attention/cpu/decode_rows.h"
#include "heddle/attention/cpu/kernels.h"
#include "heddle/attention/cpu/math.h"
#include "heddle/attention/cpu/pack.h"
#include "heddle/base/half.h"

namespace heddle::attention::cpu {

inline constexpr float kLog2E = 1.44269504f;

template <typename V>
inline typename V::Vec load_as(const float* from) {
  return V::load(from);
}
template <typename V>
inline typename V::Vec load_as(const BFloat16* from) {
  return V::load_bf16(&from->bits);
}
inline __attribute__((always_inline)) float value_of(float value) { return value; }
inline __attribute__((always_inline)) float value_of(BFloat16 value) {
  return __builtin_bit_cast(float, uint32_t{value.bits} << 16);
}

/// q·k[j] of up to kLanes keys in one vector; `count` < kLanes repeats the last one.
template <typename V, typename T>
inline typename V::Vec dots(const float* q, const T* keys, int64_t stride, int count, int width) {
  constexpr int kLanes = V::kLanes;
  const T* at[kLanes];
  for (int j = 0; j < kLanes; ++j) at[j] = keys + (j < count ? j : count - 1) * stride;
  typename V::Vec sums[kLanes];
  for (int j = 0; j < kLanes; ++j) sums[j] = V::set(0.0f);
  int e = 0;
  for (; e + kLanes <= width; e += kLanes) {
    const typename V::Vec left = V::load(q + e);
    for (int j = 0; j < kLanes; ++j) sums[j] = V::fma(left, load_as<V>(at[j] + e), sums[j]);
  }
  transpose<V>(sums);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] = sums[j] + sums[j + half];
  }
  if (e < width) {
    float rest[kLanes] = {};
    for (int j = 0; j < kLanes; ++j) {
      for (int i = e; i < width; ++i) rest[j] = V::fma(q[i], value_of(at[j][i]), rest[j]);
    }
    sums[0] = sums[0] + V::load(rest);
  }
  return sums[0];
}

template <typename V>
inline float sum_of(typename V::Vec a) {
  float lanes[V::kLanes];
  V::store(lanes, a);
  for (int half = V::kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

template <typename V>
inline float largest_of(typename V::Vec a) {
  float lanes[V::kLanes];
  V::store(lanes, a);
  float most = lanes[0];
  for (const float lane : lanes) most = lane > most ? lane : most;
  return most;
}

/// Scores to exp2(score − largest), zeros from `count` to the next whole vector; returns their sum.
template <typename V>
inline float exponentials(float* scores, int count) {
  using Vec = typename V::Vec;
  Vec most = V::set(-std::numeric_limits<float>::infinity());
  for (int j = count; j % V::kLanes != 0; ++j) {
    scores[j] = -std::numeric_limits<float>::infinity();
  }
  for (int j = 0; j < count; j += V::kLanes) most = V::max(most, V::load(scores + j));
  const Vec max = V::set(largest_of<V>(most));
  Vec sum = V::set(0.0f);
  for (int j = 0; j < count; j += V::kLanes) {
    const Vec p = exp2<V>(V::load(scores + j) - max);
    V::store(scores + j, p);
    sum = sum + p;
  }
  return sum_of<V>(sum);
}

/// out[0 … N vectors) = factor · Σ_j p[j] · v[j]; even and odd keys in sums of their own, so that
/// additions need not wait for each other.
template <typename V, typename T, int N>
inline void add_values(const float* p, const T* values, int64_t stride, int count, float factor,
                       float* out) {
  using Vec = typename V::Vec;
  Vec even[N], odd[N];
  for (int n = 0; n < N; ++n) even[n] = odd[n] = V::set(0.0f);
  int j = 0;
  for (; j + 2 <= count; j += 2) {
    const Vec first = V::set(p[j]), second = V::set(p[j + 1]);
    const T* row = values + j * stride;
    for (int n = 0; n < N; ++n) {
      even[n] = V::fma(first, load_as<V>(row + n * V::kLanes), even[n]);
      odd[n] = V::fma(second, load_as<V>(row + stride + n * V::kLanes), odd[n]);
    }
  }
  if (j < count) {
    const Vec last = V::set(p[j]);
    for (int n = 0; n < N; ++n) {
      even[n] = V::fma(last, load_as<V>(values + j * stride + n * V::kLanes), even[n]);
    }
  }
  for (int n = 0; n < N; ++n) V::store(out + n * V::kLanes, (even[n] + odd[n]) * V::set(factor));
}

template <typename V, typename T>
inline void weighted_values(const float* p, const T* values, int64_t stride, int count, int width,
                            float factor, float* out) {
  int e = 0;
  for (; e + 4 * V::kLanes <= width; e += 4 * V::kLanes) {
    add_values<V, T, 4>(p, values + e, stride, count, factor, out + e);
  }
  for (; e + V::kLanes <= width; e += V::kLanes) {
    add_values<V, T, 1>(p, values + e, stride, count, factor, out + e);
  }
  for (; e < width; ++e) {
    float sum = 0;
    for (int j = 0; j < count; ++j) sum = V::fma(p[j], value_of(values[j * stride + e]), sum);
    out[e] = sum * factor;
  }
}

/// One row, all heads.
template <typename V, typename T>
void decode_row(const RowDecode& rows, int64_t r, float* scores) {
  const int width = rows.head_dim, count = rows.length[static_cast<size_t>(r)];
  const int64_t first = rows.begin[static_cast<size_t>(r)] * rows.token_stride;
  const int group = rows.heads / rows.kv_heads;
  for (int head = 0; head < rows.heads; ++head) {
    float* out = rows.out + r * rows.out_stride + head * width;
    if (count <= 0) {
      for (int e = 0; e < width; ++e) out[e] = 0;
      continue;
    }
    const int64_t at = first + head / group * width;
    const T* keys = static_cast<const T*>(rows.keys) + at;
    const T* values = static_cast<const T*>(rows.values) + at;
    float query[kMaxWidth];
    const float* q = rows.q + r * rows.q_stride + head * width;
    for (int e = 0; e < width; ++e) query[e] = q[e] * (rows.scale * kLog2E);
    for (int j = 0; j < count; j += V::kLanes) {
      const int here = count - j < V::kLanes ? count - j : V::kLanes;
      V::store(scores + j,
               dots<V, T>(query, keys + j * rows.token_stride, rows.token_stride, here, width));
    }
    const float factor = 1.0f / exponentials<V>(scores, count);
    weighted_values<V, T>(scores, values, rows.token_stride, count, width, factor, out);
    if (rows.weights == nullptr) continue;
    float* weights = rows.weights + r * rows.weights_stride + head * rows.weights_head_stride;
    for (int j = 0; j < count; ++j) weights[j] = scores[j] * factor;
  }
}

template <typename V>
void decode_rows(const RowDecode& rows, float* scores) {
  const auto count = static_cast<int64_t>(rows.begin.size());
  for (int64_t r = 0; r < count; ++r) {
    if (rows.dtype == DType::f32) {
      decode_row<V, float>(rows, r, scores);
    } else {
      decode_row<V, BFloat16>(rows, r, scores);
    }
  }
}

}  // namespace heddle::attention::cpu
