// Products of plain row-major matrices for the backward. Blocks of both sides are copied to panels
// first: 16 columns of b, and as many rows of a as a block of sums has, each for kDepth values of
// t.
#pragma once

#include <algorithm>

#include "heddle/ops/cpu/gradient_kernels.h"
#include "heddle/ops/cpu/kernels.h"
#include "heddle/ops/cpu/lanes.h"

namespace heddle::ops::cpu {

/// Part of a product: rows and columns of c, values of t.
struct PlainBlock {
  int64_t row, row_end, depth, depth_end;
  int64_t size() const { return depth_end - depth; }
};

/// Columns of b as [column / 16][t][16], zeros behind the last.
template <typename V>
void pack_columns(const PlainProduct& p, const PlainBlock& block, float* to) {
  for (int64_t column = 0; column < p.columns; column += kTile) {
    const int64_t count = std::min<int64_t>(kTile, p.columns - column);
    for (int64_t t = block.depth; t < block.depth_end; ++t, to += kTile) {
      Lanes<V>::load_first(p.b + t * p.b_stride + column, count).store(to);
    }
  }
}

/// factor · rows of a as [row / R][t][R], zeros behind the last.
template <int R>
void pack_rows(const PlainProduct& p, const PlainBlock& block, float* to) {
  for (int64_t row = block.row; row < block.row_end; row += R) {
    const int64_t count = std::min<int64_t>(R, block.row_end - row);
    for (int64_t t = block.depth; t < block.depth_end; ++t, to += R) {
      const float* from = p.a + row * p.a_row + t * p.a_depth;
      for (int64_t i = 0; i < R; ++i) to[i] = i < count ? from[i * p.a_row] * p.factor : 0.0f;
    }
  }
}

/// Sums of R rows × kTiles tiles over one block of t.
template <typename V, int R, int kTiles>
inline void add_block(const float* rows, const float* columns, int64_t depth,
                      Lanes<V> (&sums)[R][kTiles]) {
  constexpr int kVecs = Lanes<V>::kVecs;
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
        w[t][i] = V::load(columns + (t * depth + k) * kTile + i * V::kLanes);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename V::Vec value = V::set(rows[k * R + r]);
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
        for (int i = 0; i < kVecs; ++i) at[r][t][i] = V::fma(value, w[t][i], at[r][t][i]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
      for (int i = 0; i < kVecs; ++i) sums[r][t].at[i] = at[r][t][i];
    }
  }
}

/// Columns from `column` on of one block, for all its rows.
template <typename V, int R, int kTiles>
void multiply_columns(const PlainProduct& p, const PlainBlock& block, int64_t column,
                      const float* rows, const float* columns) {
  const bool stores = !p.adds && block.depth == 0;
  for (int64_t row = block.row; row < block.row_end; row += R, rows += R * block.size()) {
    Lanes<V> sums[R][kTiles];
    add_block<V, R, kTiles>(rows, columns, block.size(), sums);
    for (int64_t r = 0; r < std::min<int64_t>(R, block.row_end - row); ++r) {
      for (int t = 0; t < kTiles; ++t) {
        const int64_t count = std::min<int64_t>(kTile, p.columns - column - t * kTile);
        float* to = p.c + (row + r) * p.c_stride + column + t * kTile;
        const Lanes<V> sum = sums[r][t];
        (stores ? sum : Lanes<V>::load_first(to, count) + sum).store_first(to, count);
      }
    }
  }
}

template <typename V>
void multiply_plain(const PlainProduct& p) {
  constexpr int kR = V::kBlockRows, kTiles = V::kBlockTiles;
  float* columns = p.scratch;
  float* rows = columns + PlainProduct::kDepth * ((p.columns + kTile - 1) / kTile * kTile);
  for (int64_t depth = 0; depth < p.depth; depth += PlainProduct::kDepth) {
    PlainBlock block{0, 0, depth, std::min(depth + PlainProduct::kDepth, p.depth)};
    pack_columns<V>(p, block, columns);
    for (; block.row < p.rows; block.row = block.row_end) {
      block.row_end = std::min(block.row + PlainProduct::kRows, p.rows);
      pack_rows<kR>(p, block, rows);
      int64_t column = 0;
      const auto panel = [&] { return columns + column * block.size(); };
      for (; column + (kTiles - 1) * kTile < p.columns; column += kTiles * kTile) {
        multiply_columns<V, kR, kTiles>(p, block, column, rows, panel());
      }
      for (; column < p.columns; column += kTile) {
        multiply_columns<V, kR, 1>(p, block, column, rows, panel());
      }
    }
  }
}

}  // namespace heddle::ops::cpu
