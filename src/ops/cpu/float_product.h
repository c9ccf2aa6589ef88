// The product of floats: blocks of rows × 16 columns, each sum one multiply-add after the other in
// k's order, so that a row's result does not depend on the rows beside it.
#pragma once

#include "heddle/ops/cpu/finish.h"
#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

template <typename V>
inline typename V::Vec load_weights(const float* from) {
  return V::load(from);
}
template <typename V>
inline typename V::Vec load_weights(const BFloat16* from) {
  return V::load_bf16(&from->bits);
}

/// R rows × kTiles tiles of T.
template <typename V, typename T, int R, int kTiles>
inline void multiply_block(const FloatProduct& p, int64_t row, int64_t n) {
  constexpr int kVecs = Lanes<V>::kVecs;
  const int64_t depth = p.weight->columns;
  const T* tile = p.weight->tile<T>(n / kTile);
  const float* x = p.x + row * p.x_stride;
  typename V::Vec at[R][kTiles][kVecs];  // unrolled, so that they are registers
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
      for (int i = 0; i < kVecs; ++i) at[r][t][i] = V::set(0.0f);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    typename V::Vec w[kTiles][kVecs];
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
      for (int i = 0; i < kVecs; ++i) {
        w[t][i] = load_weights<V>(tile + (t * depth + k) * kTile + i * V::kLanes);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename V::Vec value = V::set(x[r * p.x_stride + k]);
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
        for (int i = 0; i < kVecs; ++i) at[r][t][i] = V::fma(value, w[t][i], at[r][t][i]);
      }
    }
  }
  Lanes<V> sums[R][kTiles];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
      for (int i = 0; i < kVecs; ++i) sums[r][t].at[i] = at[r][t][i];
    }
  }
  for (int t = 0; t < kTiles; ++t) {
    const int64_t column = n + t * kTile;
    with_finish<V>(p.finish, column - p.columns.first, p.columns.end - column,
                   [&](const auto& finish) {
                     for (int r = 0; r < R; ++r) finish.row(row + r, sums[r][t]);
                   });
  }
}

template <typename V, typename T, int R, int kTiles>
inline void multiply_rows(const FloatProduct& p, int64_t row, int64_t end, int64_t n) {
  for (; row + R <= end; row += R) multiply_block<V, T, R, kTiles>(p, row, n);
  if constexpr (R > 1) multiply_rows<V, T, R / 2, kTiles>(p, row, end, n);
}

template <typename V, typename T>
void multiply_float_as(const FloatProduct& p) {
  constexpr int64_t kChunk = 96;  // rows of x that stay in the cache
  constexpr int kTiles = V::kBlockTiles;
  for (int64_t first = 0; first < p.rows; first += kChunk) {
    const int64_t end = first + kChunk < p.rows ? first + kChunk : p.rows;
    int64_t n = p.columns.first;
    for (; n + kTiles * kTile <= p.columns.end; n += kTiles * kTile) {
      multiply_rows<V, T, V::kBlockRows, kTiles>(p, first, end, n);
    }
    for (; n < p.columns.end; n += kTile) {
      multiply_rows<V, T, V::kBlockRows, 1>(p, first, end, n);
    }
  }
}

/// 16 chosen columns at a time, each with the multiply-adds that the whole product makes.
template <typename V, typename T>
void dot_rows_float_as(const RowDots& d) {
  const PackedFloat& w = *d.floats;
  for (int64_t first = 0; first < d.count; first += kTile) {
    const int64_t count = d.count - first < kTile ? d.count - first : kTile;
    const T* rows[kTile];
    for (int64_t c = 0; c < kTile; ++c) {
      const int64_t n = d.ids[first + (c < count ? c : 0)];
      rows[c] = w.tile<T>(n / kTile) + n % kTile;
    }
    Lanes<V> sums = Lanes<V>::set(0.0f);
    for (int64_t k = 0; k < w.columns; ++k) {
      T values[kTile];
      for (int c = 0; c < kTile; ++c) values[c] = rows[c][k * kTile];
      const typename V::Vec x = V::set(d.x[k]);
      for (int i = 0; i < Lanes<V>::kVecs; ++i) {
        sums.at[i] = V::fma(x, load_weights<V>(values + i * V::kLanes), sums.at[i]);
      }
    }
    float biases[kTile] = {};
    for (int64_t c = 0; c < count && d.bias != nullptr; ++c) biases[c] = d.bias[d.ids[first + c]];
    if (d.bias != nullptr) sums = sums + Lanes<V>::load(biases);
    sums.store_first(d.logits + first, count);
  }
}

template <typename V>
void dot_rows_float(const RowDots& d) {
  if (d.floats->tiles.dtype() == DType::f32) {
    dot_rows_float_as<V, float>(d);
  } else {
    dot_rows_float_as<V, BFloat16>(d);
  }
}

template <typename V>
void multiply_float(const FloatProduct& p) {
  if (p.weight->tiles.dtype() == DType::f32) {
    multiply_float_as<V, float>(p);
  } else {
    multiply_float_as<V, BFloat16>(p);
  }
}

}  // namespace heddle::ops::cpu
