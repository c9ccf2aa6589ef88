// Sixteen floats as 16 / V::kLanes registers: what elementwise arithmetic is written in, so that
// every instruction set rounds and sums alike.
#pragma once

#include <cstdint>
#include <cstring>

namespace heddle::ops::cpu {

inline constexpr int kLanes = 16;

template <typename V>
struct Lanes {
  using Vec = typename V::Vec;
  static constexpr int kVecs = kLanes / V::kLanes;
  Vec at[kVecs];

  static Lanes load(const float* from) {
    Lanes a;
    for (int i = 0; i < kVecs; ++i) a.at[i] = V::load(from + i * V::kLanes);
    return a;
  }
  /// The first `count`; the rest is `fill`.
  static Lanes load_first(const float* from, int64_t count, float fill = 0) {
    if (count >= kLanes) return load(from);
    float padded[kLanes];
    for (int i = 0; i < kLanes; ++i) padded[i] = i < count ? from[i] : fill;
    return load(padded);
  }
  static Lanes set(float a) {
    Lanes all;
    for (int i = 0; i < kVecs; ++i) all.at[i] = V::set(a);
    return all;
  }
  void store(float* to) const {
    for (int i = 0; i < kVecs; ++i) V::store(to + i * V::kLanes, at[i]);
  }
  void store_first(float* to, int64_t count) const {
    if (count >= kLanes) return store(to);
    float padded[kLanes];
    store(padded);
    for (int64_t i = 0; i < count; ++i) to[i] = padded[i];
  }

  template <typename F>
  static Lanes map(const F& f) {
    Lanes a;
    for (int i = 0; i < kVecs; ++i) a.at[i] = f(i);
    return a;
  }
  friend Lanes operator+(const Lanes& a, const Lanes& b) {
    return map([&](int i) { return a.at[i] + b.at[i]; });
  }
  friend Lanes operator-(const Lanes& a, const Lanes& b) {
    return map([&](int i) { return a.at[i] - b.at[i]; });
  }
  friend Lanes operator*(const Lanes& a, const Lanes& b) {
    return map([&](int i) { return a.at[i] * b.at[i]; });
  }
  friend Lanes operator/(const Lanes& a, const Lanes& b) {
    return map([&](int i) { return a.at[i] / b.at[i]; });
  }
  static Lanes max(const Lanes& a, const Lanes& b) {
    return map([&](int i) { return V::max(a.at[i], b.at[i]); });
  }
  static Lanes min(const Lanes& a, const Lanes& b) {
    return map([&](int i) { return V::min(a.at[i], b.at[i]); });
  }
  static Lanes abs(const Lanes& a) {
    return map([&](int i) { return V::abs(a.at[i]); });
  }
  static Lanes select_below(const Lanes& x, const Lanes& bound, const Lanes& a, const Lanes& b) {
    return map([&](int i) { return V::select_below(x.at[i], bound.at[i], a.at[i], b.at[i]); });
  }
  static Lanes exponent(const Lanes& a) {
    return map([&](int i) { return V::exponent(a.at[i]); });
  }

  /// Halves are added to each other: 8 + 8, 4 + 4, …
  float sum() const {
    float parts[kLanes];
    store(parts);
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) parts[i] += parts[i + half];
    }
    return parts[0];
  }
  float largest() const {
    float parts[kLanes];
    store(parts);
    float most = parts[0];
    for (const float part : parts) most = part > most ? part : most;
    return most;
  }

  /// Codes zero + clip(rint(a · inverse_step), ±127); NaN counts as 127.
  void store_codes(float inverse_step, int zero, uint8_t* to) const {
    const Lanes scaled = *this * set(inverse_step);
    V::store_codes(to, max(min(scaled, set(127.0f)), set(-127.0f)).at, zero);
  }
};

/// Calls body(offset, count) over [0, width) in steps of 16; count < 16 only in the last.
template <typename Body>
inline __attribute__((always_inline)) void for_lanes(int64_t width, const Body& body) {
  int64_t at = 0;
  for (; at + kLanes <= width; at += kLanes) body(at, int64_t{kLanes});
  if (at < width) body(at, width - at);
}

}  // namespace heddle::ops::cpu
