// The backward arithmetic of one tile. Keys run along the lanes, so K and V are packed once a key
// tile and query rows are read as they lie:
//
//   p[i, j] = exp2(s[i, j] − lse[i]);  ds[i, j] = scale · p · (d_out[i]·v[j] − delta[i]) · cap'
//   d_v += pᵀ·d_out;  d_k += dsᵀ·q;  d_q += ds·k
#pragma once

#include "heddle/attention/cpu/forward_tile.h"
#include "heddle/attention/cpu/pack.h"

namespace heddle::attention::cpu {

/// p and ds of R rows from the products s (in memory) and d_out·v (in registers), where they lie.
template <typename V, int R, int N>
inline void weigh_block(const BackwardTile& tile, int row, int key,
                        const Block<V, R, N>& products) {
  using Vec = typename V::Vec;
  for (int r = 0; r < R; ++r) {
    const int i = row + r;
    const Vec lse = V::set(tile.lse[i]), delta = V::set(tile.delta[i]), scale = V::set(tile.scale);
    for (int n = 0; n < N; ++n) {
      const int first = key + n * V::kLanes;
      float* at = tile.weights + i * kTileKeys + first;
      Vec s = V::load(at);
      Vec slope = scale;
      if (tile.rule.cap > 0) {
        const Vec t = tanh<V>(s);
        slope = scale * (V::set(1.0f) - t * t);
        s = V::set(tile.rule.cap) * t;
      }
      s = add_alibi<V>(tile.rule, s, first - i - tile.distance);
      Vec p = exp2<V>(s - lse);
      Vec d_score = p * (products.at[r][n] - delta) * slope;
      if (tile.visible != nullptr) {
        const auto bits = static_cast<uint32_t>(tile.visible[i] >> first);
        p = V::select(bits, p, V::set(0.0f));
        d_score = V::select(bits, d_score, V::set(0.0f));
      }
      V::store(at, p);
      V::store(tile.d_scores + i * kTileKeys + first, d_score);
    }
  }
}

/// Rows whose pairs with one panel of keys are worked on.
template <typename V>
inline Part rows_of_panel(const BackwardTile& tile, int key, int panel) {
  if (!tile.trim || tile.visible == nullptr) return {0, tile.rows};
  return seen_part<V>(tile.visible, tile.rows, key, panel);
}

template <typename V, int N>
inline void weigh_panel(const BackwardTile& tile, int key) {
  constexpr int kPanel = N * V::kLanes;
  const float* k = tile.k_panels + key * tile.head_dim;
  const float* v = tile.v_panels + key * tile.value_dim;
  const Part part = rows_of_panel<V>(tile, key, kPanel);
  for (int i = 0; i < tile.rows; ++i) {
    if (i == part.begin) i = part.end;  // d_q reads what others of its rows see
    if (i >= tile.rows) break;
    for (int n = 0; n < N; ++n) {
      V::store(tile.d_scores + i * kTileKeys + key + n * V::kLanes, V::set(0.0f));
    }
  }
  for_row_blocks<V::kBlockRows>(part.end - part.begin, [&]<int R>(int offset) {
    const int row = part.begin + offset;
    Block<V, R, N> block;
    block.clear();
    accumulate<Left::rows>(block, tile.q + row * tile.key_width, tile.key_width, k, kPanel,
                           tile.head_dim);
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) {
        V::store(tile.weights + (row + r) * kTileKeys + key + n * V::kLanes, block.at[r][n]);
      }
    }
    Block<V, R, N> products;
    products.clear();
    accumulate<Left::rows>(products, tile.d_out + row * tile.value_width, tile.value_width, v,
                           kPanel, tile.value_dim);
    weigh_block<V, R, N>(tile, row, key, products);
  });
}

/// c += a·b over visible pairs alone, for operands that must not be multiplied by 0. `by_key`: c
/// has a row a key, else a row a query row; `a` is weights or d_scores.
template <typename V>
void multiply_visible(const BackwardTile& tile, const Product& p, bool by_key) {
  for (int row = 0; row < p.rows; ++row) {
    for (int d = 0; d < p.depth; ++d) {
      const int i = by_key ? d : row, j = by_key ? row : d;
      if ((tile.visible[i] >> j & 1) == 0) continue;
      const float factor = p.a[i * p.a_stride + j];
      for (int e = 0; e < p.width; ++e) {
        float& sum = p.c[row * p.c_stride + e];
        sum = V::fma(factor, p.b[d * p.b_stride + e], sum);
      }
    }
  }
}

/// Bits of `count` words from the first to the last that is set in any, at most `width`.
template <typename V>
inline Part seen_columns(const uint64_t* words, int count, int width) {
  uint64_t any = 0;
  for (int i = 0; i < count; ++i) any |= words[i];
  if (any == 0) return {0, 0};
  const int end = 64 - __builtin_clzll(any);
  return {__builtin_ctzll(any), end < width ? end : width};
}

/// d_v and d_k of `keys` keys from `key` on, from a part of the rows.
template <typename V>
inline void add_key_gradients(const BackwardTile& tile, int key, int keys, Part rows) {
  const auto product = [&](const float* a, const float* b, int64_t width, float* c) {
    return Product{.a = a + rows.begin * kTileKeys + key,
                   .a_stride = kTileKeys,
                   .b = b + rows.begin * width,
                   .b_stride = width,
                   .c = c + key * width,
                   .c_stride = width,
                   .rows = keys,
                   .depth = rows.end - rows.begin,
                   .width = static_cast<int>(width)};
  };
  const Product d_v = product(tile.weights, tile.d_out, tile.value_width, tile.d_v);
  const Product d_k = product(tile.d_scores, tile.q, tile.key_width, tile.d_k);
  if (tile.careful) {
    multiply_visible<V>(tile, d_v, true);
    multiply_visible<V>(tile, d_k, true);
  } else {
    multiply<Left::columns, V>(d_v);
    multiply<Left::columns, V>(d_k);
  }
}

/// d_q of `rows` rows from `row` on, from a part of the keys.
template <typename V>
inline void add_query_gradients(const BackwardTile& tile, int row, int rows, Part keys) {
  const Product d_q{.a = tile.d_scores + row * kTileKeys + keys.begin,
                    .a_stride = kTileKeys,
                    .b = tile.k + keys.begin * tile.key_width,
                    .b_stride = tile.key_width,
                    .c = tile.d_q + row * tile.key_width,
                    .c_stride = tile.key_width,
                    .rows = rows,
                    .depth = keys.end - keys.begin,
                    .width = static_cast<int>(tile.key_width)};
  if (tile.careful) {
    multiply_visible<V>(tile, d_q, false);
  } else {
    multiply<Left::rows, V>(d_q);
  }
}

template <typename V>
void backward_tile(const BackwardTile& tile) {
  const int panel = panel_of<V>(tile.keys);
  for (int key = 0; key < tile.keys; key += panel) {
    if (panel == V::kLanes) {
      weigh_panel<V, 1>(tile, key);
    } else {
      weigh_panel<V, 2>(tile, key);
    }
  }
  const bool whole = !tile.trim || tile.visible == nullptr || tile.careful;
  const auto smaller = [](int a, int b) { return a < b ? a : b; };
  const int key_step = whole ? tile.keys : panel;
  for (int key = 0; tile.d_k != nullptr && key < tile.keys; key += key_step) {
    const Part rows = whole ? Part{0, tile.rows} : rows_of_panel<V>(tile, key, panel);
    add_key_gradients<V>(tile, key, smaller(key_step, tile.keys - key), rows);
  }
  const int row_step = whole ? tile.rows : 16;
  for (int row = 0; tile.d_q != nullptr && row < tile.rows; row += row_step) {
    const int rows = smaller(row_step, tile.rows - row);
    Part keys{0, tile.keys};
    if (!whole) keys = seen_columns<V>(tile.visible + row, rows, tile.keys);
    add_query_gradients<V>(tile, row, rows, keys);
  }
}

}  // namespace heddle::attention::cpu
