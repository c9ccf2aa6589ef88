// The forward arithmetic of one tile with few query rows: lanes run along the head dim, so that no
// lane is left without a row, and time goes to reading K and V.
//
//   s[i, j] = q[i]·k[j];  m = max;  p[i, j] = exp2(s − m);  out[i] = out[i] · exp2(m_old − m) +
//   p[i, :]·v
#pragma once

#include "heddle/attention/cpu/forward_tile.h"
#include "heddle/attention/cpu/pack.h"

namespace heddle::attention::cpu {

/// q·k[j] of as many keys as there are lanes; beyond `count` the last one again.
template <typename V>
inline typename V::Vec key_products(const float* q, const float* k, int64_t stride, int count,
                                    int width) {
  typename V::Vec sums[V::kLanes];
  const float* at[V::kLanes];
  for (int j = 0; j < V::kLanes; ++j) {
    sums[j] = V::set(0.0f);
    at[j] = k + (j < count ? j : count - 1) * stride;
  }
  int e = 0;
  for (; e + V::kLanes <= width; e += V::kLanes) {
    const typename V::Vec left = V::load(q + e);
    for (int j = 0; j < V::kLanes; ++j) sums[j] = V::fma(left, V::load(at[j] + e), sums[j]);
  }
  transpose<V>(sums);
  for (int half = V::kLanes / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] = sums[j] + sums[j + half];
  }
  if (e == width) return sums[0];
  float rest[V::kLanes] = {};
  for (int j = 0; j < V::kLanes; ++j) {
    for (int i = e; i < width; ++i) rest[j] = V::fma(q[i], at[j][i], rest[j]);
  }
  return sums[0] + V::load(rest);
}

/// Bit j: the row sees key j.
template <typename V>
inline uint64_t keys_of_row(const ForwardTile& tile, int row) {
  uint64_t keys = ~uint64_t{0} >> (64 - tile.keys);
  if (tile.visible == nullptr) return keys;
  for (int j = 0; j < tile.keys; ++j) {
    if ((tile.visible[j] >> row & 1) == 0) keys &= ~(uint64_t{1} << j);
  }
  return keys;
}

/// Products to weights, where they lie; returns what earlier sums are to be multiplied with.
template <typename V>
inline float weigh_row(const ForwardTile& tile, int row, uint64_t seen) {
  using Vec = typename V::Vec;
  float* scores = tile.weights + row * kTileKeys;
  Vec largest = hidden_score<V>();
  for (int j = 0; j < tile.keys; j += V::kLanes) {
    Vec s = V::load(scores + j);
    if (tile.rule.cap > 0) s = V::set(tile.rule.cap) * tanh<V>(s);
    s = add_alibi<V>(tile.rule, s, j - row - tile.distance);
    s = V::select(static_cast<uint32_t>(seen >> j), s, hidden_score<V>());
    V::store(scores + j, s);
    largest = V::max(largest, s);
  }
  float lanes[V::kLanes];
  V::store(lanes, largest);
  float max = tile.max[row];
  for (const float lane : lanes) max = max > lane ? max : lane;
  // A row that has seen nothing yet keeps −inf; a finite stand-in avoids −inf − (−inf).
  const float lowest = std::numeric_limits<float>::lowest();
  const Vec base = V::set(max > lowest ? max : lowest);
  V::store(lanes, exp2<V>(V::set(tile.max[row]) - base));
  const float rescale = lanes[0];
  tile.max[row] = max;

  Vec sums = V::set(0.0f);
  for (int j = 0; j < tile.keys; j += V::kLanes) {
    const Vec p = exp2<V>(V::load(scores + j) - base);
    V::store(scores + j, p);
    sums = sums + p;
  }
  V::store(lanes, sums);
  float sum = tile.sum[row] * rescale;
  for (const float lane : lanes) sum += lane;
  tile.sum[row] = sum;
  return rescale;
}

/// out of R rows and N vectors of columns.
template <typename V, int R, int N>
inline void add_value_columns(const ForwardTile& tile, int row, int column, const float* rescale) {
  Block<V, R, N> block;
  float* out = tile.out + row * tile.value_dim + column;
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) {
      block.at[r][n] = V::load(out + r * tile.value_dim + n * V::kLanes) * V::set(rescale[row + r]);
    }
  }
  accumulate<Left::rows>(block, tile.weights + row * kTileKeys, kTileKeys, tile.v + column,
                         tile.v_stride, tile.keys);
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) {
      V::store(out + r * tile.value_dim + n * V::kLanes, block.at[r][n]);
    }
  }
}

/// One column, and hidden values left out where they must not be multiplied by 0.
template <typename V>
inline void add_value_column(const ForwardTile& tile, int row, int column, float rescale,
                             uint64_t seen) {
  float& out = tile.out[row * tile.value_dim + column];
  float sum = out * rescale;
  for (int j = 0; j < tile.keys; ++j) {
    if ((seen >> j & 1) == 0) continue;
    sum = V::fma(tile.weights[row * kTileKeys + j], tile.v[j * tile.v_stride + column], sum);
  }
  out = sum;
}

/// As forward_tile, but q [rows, E] and out [rows, Ev] lie row by row, and weights is [rows, 64].
template <typename V>
void few_rows_tile(const ForwardTile& tile) {
  for (int j = 0; j < tile.keys; j += V::kLanes) {
    const int count = tile.keys - j < V::kLanes ? tile.keys - j : V::kLanes;
    for (int i = 0; i < tile.rows; ++i) {
      V::store(tile.weights + i * kTileKeys + j,
               key_products<V>(tile.q + i * tile.head_dim, tile.k + j * tile.k_stride,
                               tile.k_stride, count, tile.head_dim));
    }
  }
  uint64_t seen[kTileRows];
  float rescale[kTileRows];
  for (int i = 0; i < tile.rows; ++i) {
    seen[i] = keys_of_row<V>(tile, i);
    rescale[i] = weigh_row<V>(tile, i, seen[i]);
  }
  const int whole = tile.careful ? 0 : tile.value_dim;
  int column = 0;
  const auto columns = [&]<int N>() {
    for (; column + N * V::kLanes <= whole; column += N * V::kLanes) {
      for_row_blocks<2>(tile.rows, [&]<int R>(int row) {
        add_value_columns<V, R, N>(tile, row, column, rescale);
      });
    }
  };
  columns.template operator()<4>();
  columns.template operator()<1>();
  for (; column < tile.value_dim; ++column) {
    for (int i = 0; i < tile.rows; ++i) add_value_column<V>(tile, i, column, rescale[i], seen[i]);
  }
}

}  // namespace heddle::attention::cpu
