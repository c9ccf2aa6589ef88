// Weights as the kernels read them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "heddle/ops/cpu/kernels.h"
#include "heddle/tensor/tensor.h"

namespace heddle::ops::cpu {

// Kernels that add products in 16 bits (AVX2, where an instruction adds two products of an unsigned
// and a signed byte, and saturates) need the tiles in one of two ways.

/// Where that leaves few rests: tiles of weights that were moved towards 0 until no two neighbours
/// saturate with codes 0 … 254; what was taken off lies in `rests`, to be added by hand. Sums of 8
/// quads are made modulo 2^16, which is exact while |Σ code · weight| < 2^15; that is certain where
/// (norm of the codes) · (norm of the weights) of a group is.
struct ClippedWeights {
  static constexpr int kGroup = 8;  ///< quads
  struct Rest {
    int32_t column;  ///< of the tile
    int32_t k;
    int32_t value;
  };
  std::vector<int32_t> rest_offset;  ///< [tiles + 1]
  std::vector<Rest> rests;
  std::vector<int32_t> sums;  ///< [N rounded up to 16]: Σ_k of the clipped values
  std::vector<int32_t> norm;  ///< [tiles]: largest Σ weight² over one group, lane and column
  /// [tiles][quads / 8][16][2]: −127 · Σ weight, modulo 2^16, which centres the sums of codes with
  /// zero 127.
  std::vector<uint16_t> centres;
};

/// Elsewhere: weights whose sums over a group of quads are made modulo 2^16 where the norms of the
/// group and of the codes at hand allow that (int8_grouped.h).
struct GroupedWeights {
  static constexpr int64_t kSlice = 128;  ///< quads
  static constexpr int64_t kLimits = 32;  ///< of a slice; it has as many groups, or half as many
  /// Tiles hold value + 128, unsigned, for codes of both signs, which are clipped. Else they hold
  /// the values, for codes that are never negative.
  bool moved;
  /// [tiles][slices][kLimits]: the largest Σ code² over a lane of a group, in units, with which no
  /// sum leaves 16 bits; at most 254.
  std::vector<uint8_t> limits;
  int32_t code_norm;  ///< codes are clipped to this Σ code²

  static constexpr int group(bool moved) { return moved ? 4 : 8; }          ///< quads
  static constexpr int32_t unit(bool moved) { return 128 * group(moved); }  ///< no norm has 255
  static int64_t per_tile(int64_t quads) { return (quads + kSlice - 1) / kSlice * kLimits; }
  /// Of the group of a quad, among the limits of a tile.
  static int64_t at(int64_t quad, bool moved) {
    return quad / kSlice * kLimits + quad % kSlice / group(moved);
  }
};

/// Tile t holds rows 16 t … 16 t + 15 of a weight [N, K], zeros where there are none: byte
/// [k / 4][n % 16][k % 4], so that four codes of a row, repeated, meet 16 columns in 64 bytes.
struct PackedInt8 {
  int64_t rows, columns;  ///< N, K
  int64_t quads;          ///< K / 4, rounded up to a whole number of kGroup
  Tensor tiles;           ///< i8 [N / 16][quads][16][4]
  Tensor scales;          ///< f32 [N rounded up to 16]
  Tensor sums;            ///< i32 [N rounded up to 16]: Σ_k value
  Tensor plain;           ///< i8 [N, K] as it came, for tables; else undefined
  /// One of them for kernels that add products in 16 bits, else both null.
  std::unique_ptr<ClippedWeights> clipped;
  std::unique_ptr<GroupedWeights> grouped;

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
/// makes ClippedWeights or GroupedWeights, these for codes that are never negative if `from_relu`.
std::shared_ptr<const PackedInt8> pack_int8(const Tensor& values, std::span<const float> scales,
                                            bool keep, bool pairs, bool from_relu = false);

/// Row n, dequantised, [K].
void read_row(const PackedInt8& packed, int64_t n, float* to);

/// The rows `ids` as a weight of their own.
std::shared_ptr<const PackedInt8> select_rows(const PackedInt8& packed,
                                              std::span<const int32_t> ids);
std::shared_ptr<const PackedFloat> select_rows(const PackedFloat& packed,
                                               std::span<const int32_t> ids);

}  // namespace heddle::ops::cpu
