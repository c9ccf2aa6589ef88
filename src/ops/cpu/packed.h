// Weights as the kernels read them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "heddle/ops/cpu/kernels.h"
#include "heddle/tensor/tensor.h"

namespace heddle::ops::cpu {

/// Kernels that add products in 16 bits do so in groups of 8, 4 or 2 quads where norms allow.
inline constexpr int kNormSizes = 3;

/// Tile t holds rows 16 t … 16 t + 15 of a weight [N, K], zeros where there are none: byte
/// [k / 4][n % 16][k % 4], so that four codes of a row, repeated, meet 16 columns in 64 bytes.
struct PackedInt8 {
  int64_t rows, columns;  ///< N, K
  int64_t quads;          ///< K / 4, rounded up to a whole number of kGroup
  Tensor tiles;           ///< i8 [N / 16][quads][16][4]
  Tensor scales;          ///< f32 [N rounded up to 16]
  Tensor sums;            ///< i32 [N rounded up to 16]: Σ_k value
  Tensor plain;           ///< i8 [N, K] as it came, for tables; else undefined
  /// For kernels that add products in 16 bits (AVX2): the tiles hold value + 128, and for each tile
  /// and size of group there is the largest Σ value² over one group, of the even or odd pairs of
  /// its quads, of a column. Else empty.
  std::vector<std::array<int32_t, kNormSizes>> pair_norms;

  static constexpr int64_t kGroup = 8;  ///< quads that a kernel may take at once
  int64_t tile_count() const { return (rows + kTile - 1) / kTile; }
  const int8_t* tile(int64_t t) const { return tiles.data<int8_t>() + t * quads * 4 * kTile; }
};

/// Tile t: element [k][n % 16], f32 or bf16.
struct PackedFloat {
  int64_t rows, columns;  ///< N, K
  Tensor tiles;           ///< f32 or bf16 [N / 16][K][16]

  int64_t tile_count() const { return (rows + kTile - 1) / kTile; }
  template <typename T>
  const T* tile(int64_t t) const {
    return tiles.data<T>() + t * columns * kTile;
  }
};

/// From values i8 [N, K] and one scale a row. `keep` keeps `values` as the plain rows; `pairs`
/// asks for what sums in 16 bits need.
std::shared_ptr<const PackedInt8> pack_int8(const Tensor& values, std::span<const float> scales,
                                            bool keep, bool pairs);

/// Row n, dequantised, [K].
void read_row(const PackedInt8& packed, int64_t n, float* to);

/// The rows `ids` as a weight of their own.
std::shared_ptr<const PackedInt8> select_rows(const PackedInt8& packed,
                                              std::span<const int32_t> ids);
std::shared_ptr<const PackedFloat> select_rows(const PackedFloat& packed,
                                               std::span<const int32_t> ids);

}  // namespace heddle::ops::cpu
