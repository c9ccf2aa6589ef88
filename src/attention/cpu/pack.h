// Rows to panels and back, and their products (see kernels.h).
#pragma once

#include "heddle/attention/cpu/kernels.h"

namespace heddle::attention::cpu {

template <typename V>
inline int panel_of(int rows) {
  return rows <= V::kLanes ? V::kLanes : 2 * V::kLanes;
}

/// rows[i] becomes the vector of all rows' lane i: log2(lanes) times, each half is zipped with the
/// other.
template <typename V>
inline void transpose(typename V::Vec (&rows)[V::kLanes]) {
  constexpr int kHalf = V::kLanes / 2;
  for (int step = 1; step < V::kLanes; step *= 2) {
    typename V::Vec zipped[V::kLanes];
    for (int i = 0; i < kHalf; ++i) {
      V::zip(rows[i], rows[i + kHalf], zipped[2 * i], zipped[2 * i + 1]);
    }
    for (int i = 0; i < V::kLanes; ++i) rows[i] = zipped[i];
  }
}

template <typename V>
void pack(const Rows& rows, float factor, float* panels) {
  constexpr int kLanes = V::kLanes;
  const int panel = panel_of<V>(rows.count);
  const int whole = rows.width / kLanes * kLanes;
  for (int first = 0; first < rows.count; first += kLanes) {
    float* to = panels + first / panel * panel * rows.width + first % panel;
    const int count = rows.count - first < kLanes ? rows.count - first : kLanes;
    const float* from = rows.data + first * rows.stride;
    for (int e = 0; e < whole; e += kLanes) {
      typename V::Vec block[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        block[i] = i < count ? V::load(from + i * rows.stride + e) * V::set(factor) : V::set(0.0f);
      }
      transpose<V>(block);
      for (int i = 0; i < kLanes; ++i) V::store(to + (e + i) * panel, block[i]);
    }
    for (int e = whole; e < rows.width; ++e) {
      for (int i = 0; i < kLanes; ++i) {
        to[e * panel + i] = i < count ? from[i * rows.stride + e] * factor : 0;
      }
    }
  }
  // The last panel may be half empty.
  const int filled = (rows.count + kLanes - 1) / kLanes * kLanes;
  if (filled % panel == 0) return;
  float* rest = panels + filled / panel * panel * rows.width + filled % panel;
  for (int e = 0; e < rows.width; ++e) V::store(rest + e * panel, V::set(0.0f));
}

template <typename V>
void unpack(const float* panels, const float* factors, int count, int width, float* rows,
            int64_t stride) {
  constexpr int kLanes = V::kLanes;
  const int panel = panel_of<V>(count);
  const int whole = width / kLanes * kLanes;
  for (int first = 0; first < count; first += kLanes) {
    const float* from = panels + first / panel * panel * width + first % panel;
    const int inside = count - first < kLanes ? count - first : kLanes;
    float* to = rows + first * stride;
    for (int e = 0; e < whole; e += kLanes) {
      typename V::Vec block[kLanes];
      for (int i = 0; i < kLanes; ++i) block[i] = V::load(from + (e + i) * panel);
      transpose<V>(block);
      for (int i = 0; i < inside; ++i) {
        V::store(to + i * stride + e, block[i] * V::set(factors[first + i]));
      }
    }
    for (int e = whole; e < width; ++e) {
      for (int i = 0; i < inside; ++i)
        to[i * stride + e] = from[e * panel + i] * factors[first + i];
    }
  }
}

/// Adds up in the order of the products in gemm.h: where out is the value of the one key that a row
/// sees, d_out·v − out·d_out is then 0, and so are the gradients.
template <typename V>
void dot_rows(const Rows& a, const Rows& b, float* dots) {
  using Vec = typename V::Vec;
  constexpr int kLanes = V::kLanes;
  const int whole = a.width / kLanes * kLanes;
  for (int first = 0; first < a.count; first += kLanes) {
    const int count = a.count - first < kLanes ? a.count - first : kLanes;
    const float* left = a.data + first * a.stride;
    const float* right = b.data + first * b.stride;
    Vec sums = V::set(0.0f);
    for (int e = 0; e < whole; e += kLanes) {
      Vec lefts[kLanes], rights[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        lefts[i] = i < count ? V::load(left + i * a.stride + e) : V::set(0.0f);
        rights[i] = i < count ? V::load(right + i * b.stride + e) : V::set(0.0f);
      }
      transpose<V>(lefts);
      transpose<V>(rights);
      for (int i = 0; i < kLanes; ++i) sums = V::fma(lefts[i], rights[i], sums);
    }
    float lanes[kLanes];
    V::store(lanes, sums);
    for (int i = 0; i < count; ++i) {
      for (int e = whole; e < a.width; ++e) {
        lanes[i] = V::fma(left[i * a.stride + e], right[i * b.stride + e], lanes[i]);
      }
      dots[first + i] = lanes[i];
    }
  }
}

}  // namespace heddle::attention::cpu
