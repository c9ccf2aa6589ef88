// The product of codes by vpdpbusd, which adds four products of a code 0 … 255 and a weight to a
// sum of 32 bits, exactly.
#pragma once

#include <immintrin.h>

#include "heddle/ops/cpu/finish.h"
#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// R rows × T tiles. I is the integer side of an instruction set: Vec of I::kInts sums, load,
/// store, set, multiply, dot.
template <typename I, int R, int T>
inline __attribute__((always_inline)) void vnni_block(const Int8Product& p, int64_t row,
                                                      int64_t n) {
  using Float = typename I::Float;
  using Vec = typename I::Vec;
  constexpr int kVecs = kTile / I::kInts * T;
  const PackedInt8& w = *p.weight;
  const int64_t tile_bytes = w.quads * 4 * kTile;
  const int8_t* values = w.tile(n / kTile);
  const uint8_t* codes = p.codes + row * p.codes_stride;
  const int32_t* weight_sums = w.sums.data<int32_t>() + n;
  const Vec zero = I::set(-p.zero);
  Vec sums[R][kVecs];
  for (int i = 0; i < kVecs; ++i) {
    const Vec offset = I::multiply(I::load(weight_sums + i * I::kInts), zero);
    for (int r = 0; r < R; ++r) sums[r][i] = offset;
  }
  for (int64_t quad = 0; quad < w.quads; ++quad) {
    Vec weights[kVecs];
    for (int i = 0; i < kVecs; ++i) {
      const int8_t* tile = values + i * I::kInts / kTile * tile_bytes;
      weights[i] = I::load(tile + quad * 4 * kTile + i * I::kInts % kTile * 4);
    }
    for (int r = 0; r < R; ++r) {
      int32_t four;
      __builtin_memcpy(&four, codes + r * p.codes_stride + 4 * quad, 4);
      const Vec x = I::set(four);
      for (int i = 0; i < kVecs; ++i) sums[r][i] = I::dot(sums[r][i], x, weights[i]);
    }
  }
  constexpr int kTileVecs = kTile / I::kInts;
  for (int t = 0; t < T; ++t) {
    const int64_t column = n + t * kTile;
    const Lanes<Float> scales = Lanes<Float>::load(w.scales.data<float>() + column);
    with_finish<Float>(
        p.finish, column - p.columns.first, p.columns.end - column, [&](const auto& finish) {
          for (int r = 0; r < R; ++r) {
            const float step = p.steps != nullptr ? p.steps[row + r] : p.step;
            const Lanes<Float> y =
                Lanes<Float>::map([&](int i) { return I::as_floats(sums[r][t * kTileVecs + i]); });
            finish.row(row + r, y * (scales * Lanes<Float>::set(step)));
          }
        });
  }
}

template <typename I, int R, int T>
inline void vnni_rows(const Int8Product& p, int64_t row, int64_t end, int64_t n) {
  for (; row + R <= end; row += R) vnni_block<I, R, T>(p, row, n);
  if constexpr (R > 1) vnni_rows<I, R / 2, T>(p, row, end, n);
}

template <typename I>
void multiply_int8_vnni(const Int8Product& p) {
  constexpr int64_t kChunk = 96;  // rows whose codes stay in the cache
  constexpr int kTiles = I::kBlockTiles;
  for (int64_t first = 0; first < p.rows; first += kChunk) {
    const int64_t end = first + kChunk < p.rows ? first + kChunk : p.rows;
    int64_t n = p.columns.first;
    for (; n + kTiles * kTile <= p.columns.end; n += kTiles * kTile) {
      vnni_rows<I, I::kBlockRows, kTiles>(p, first, end, n);
    }
    for (; n < p.columns.end; n += kTile) vnni_rows<I, I::kBlockRows, 1>(p, first, end, n);
  }
}

}  // namespace heddle::ops::cpu
