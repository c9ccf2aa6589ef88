#include "heddle/ops/cpu/pair_sums.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace heddle::ops::cpu {

namespace {

/// A quad of a tile is 64 bytes: so many pairs of neighbours, two a column.
constexpr int kLanes = 2 * kTile;
constexpr int64_t kQuadBytes = 4 * kTile;

using Squares = std::array<int32_t, kLanes>;

/// Σ value² of each pair. The loop is made for the compiler to widen.
Squares squares_of(const int8_t* quad) {
  std::array<int16_t, kLanes> words;
  std::memcpy(words.data(), quad, sizeof words);
  Squares squares{};
  for (size_t i = 0; i < kLanes; ++i) {
    const int16_t first = static_cast<int16_t>(static_cast<int16_t>(words[i] << 8) >> 8);
    const int16_t second = static_cast<int16_t>(words[i] >> 8);
    squares[i] = first * first + second * second;
  }
  return squares;
}

std::array<int32_t, kNormSizes> norms_of(const int8_t* tile, int64_t quads) {
  std::array<int32_t, kNormSizes> norms{};
  for (int64_t first = 0; first < quads; first += PackedInt8::kGroup) {
    Squares groups[PackedInt8::kGroup];
    for (int64_t q = 0; q < PackedInt8::kGroup; ++q) {
      groups[q] = squares_of(tile + (first + q) * kQuadBytes);
    }
    // Groups of 2, then 4 and 8, each made of two of the size before.
    int64_t count = PackedInt8::kGroup;
    for (size_t size = kNormSizes; size > 0; --size) {
      count /= 2;
      for (int64_t g = 0; g < count; ++g) {
        for (size_t i = 0; i < kLanes; ++i) groups[g][i] = groups[2 * g][i] + groups[2 * g + 1][i];
        norms[size - 1] =
            std::max(norms[size - 1], *std::max_element(groups[g].begin(), groups[g].end()));
      }
    }
  }
  return norms;
}

}  // namespace

void prepare_pair_sums(PackedInt8& packed) {
  packed.pair_norms.resize(static_cast<size_t>(packed.tile_count()));
  for (int64_t t = 0; t < packed.tile_count(); ++t) {
    packed.pair_norms[static_cast<size_t>(t)] = norms_of(packed.tile(t), packed.quads);
  }
  auto* bytes = reinterpret_cast<uint8_t*>(packed.tiles.data<int8_t>());
  const int64_t count = packed.tiles.elements();
  for (int64_t i = 0; i < count; ++i) bytes[i] ^= 0x80;
}

}  // namespace heddle::ops::cpu
