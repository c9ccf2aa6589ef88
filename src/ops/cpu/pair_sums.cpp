#include "heddle/ops/cpu/pair_sums.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace heddle::ops::cpu {

namespace {

/// Two products of codes up to 254 fit 16 bits while weights of one sign sum up to no more.
constexpr int kPairLimit = 32767 / 254;

/// Clip where no more than this share of the quads has a rest: each costs a product by hand.
constexpr double kMostRests = 0.01;

/// For so large a share of the groups clipped codes may still be too large: the others allow larger
/// ones.
constexpr double kTooLarge = 0.02;

/// What two neighbours lose, the larger one first.
int excess(int a, int b) {
  const bool same_sign = (a > 0) == (b > 0);
  const int size = same_sign ? std::abs(a + b) : std::max(std::abs(a), std::abs(b));
  return std::max(0, size - kPairLimit);
}

/// A quad of a tile is 64 bytes: so many pairs of neighbours, two a column.
constexpr int kLanes = 2 * kTile;
using Lanes = std::array<int16_t, kLanes>;

/// The pairs of a quad. Loops over them are made for the compiler to widen.
struct Pairs {
  explicit Pairs(const int8_t* quad) {
    Lanes words;
    std::memcpy(words.data(), quad, sizeof words);
    for (size_t i = 0; i < kLanes; ++i) {
      first[i] = static_cast<int16_t>(static_cast<int16_t>(words[i] << 8) >> 8);
      second[i] = static_cast<int16_t>(words[i] >> 8);
    }
  }
  Lanes first, second;
};

/// Neighbours of different signs have none: neither is beyond the limit alone.
bool has_excess(const int8_t* quad) {
  static_assert(kPairLimit >= 128);
  const Pairs pairs(quad);
  int16_t largest = 0;
  for (size_t i = 0; i < kLanes; ++i) {
    const auto sum = static_cast<int16_t>(pairs.first[i] + pairs.second[i]);
    largest = std::max(largest, std::max(sum, static_cast<int16_t>(-sum)));
  }
  return largest > kPairLimit;
}

int8_t* quad_of(PackedInt8& packed, int64_t t, int64_t quad) {
  return packed.tiles.data<int8_t>() + (t * packed.quads + quad) * 4 * kTile;
}

/// Where pairs saturate.
struct Place {
  int64_t tile, quad;
  int lane;
};

/// All places in their order; nothing when there are more than `most`.
std::optional<std::vector<Place>> find_excess(PackedInt8& packed, size_t most) {
  std::vector<Place> places;
  for (int64_t t = 0; t < packed.tile_count(); ++t) {
    for (int64_t quad = 0; quad < packed.quads; ++quad) {
      const int8_t* pair = quad_of(packed, t, quad);
      if (!has_excess(pair)) continue;
      for (int lane = 0; lane < kLanes; ++lane, pair += 2) {
        if (excess(pair[0], pair[1]) > 0) places.push_back({t, quad, lane});
      }
      if (places.size() > most) return std::nullopt;
    }
  }
  return places;
}

void take_rests(PackedInt8& packed, const std::vector<Place>& places, ClippedWeights& clipped) {
  int64_t done = 0;  // tiles whose rests are all there
  const auto finish = [&](int64_t tiles) {
    for (; done < tiles; ++done) {
      clipped.rest_offset.push_back(static_cast<int32_t>(clipped.rests.size()));
    }
  };
  for (const auto& [t, quad, lane] : places) {
    finish(t + 1);
    int8_t* pair = quad_of(packed, t, quad) + 2 * lane;
    const auto k = static_cast<int32_t>(4 * quad + 2 * (lane % 2));
    while (const int size = excess(pair[0], pair[1])) {
      const int i = std::abs(pair[0]) >= std::abs(pair[1]) ? 0 : 1;
      const int taken = std::min(size, std::abs(int{pair[i]})) * (pair[i] > 0 ? 1 : -1);
      pair[i] = static_cast<int8_t>(pair[i] - taken);
      clipped.rests.push_back({lane / 2, k + i, taken});
    }
  }
  finish(packed.tile_count() + 1);
}

void add_norms_and_centres(PackedInt8& packed, ClippedWeights& clipped) {
  const auto tiles = static_cast<size_t>(packed.tile_count());
  clipped.sums.assign(tiles * kTile, 0);
  clipped.centres.resize(tiles * static_cast<size_t>(packed.quads / ClippedWeights::kGroup) *
                         kLanes);
  auto centre = clipped.centres.begin();
  for (size_t t = 0; t < tiles; ++t) {
    int32_t norm = 0;
    for (int64_t first = 0; first < packed.quads; first += ClippedWeights::kGroup) {
      Lanes sums{};
      std::array<uint32_t, kLanes> squares{};
      for (int64_t quad = first; quad < first + ClippedWeights::kGroup; ++quad) {
        const Pairs two(quad_of(packed, static_cast<int64_t>(t), quad));
        for (size_t i = 0; i < kLanes; ++i) {
          sums[i] = static_cast<int16_t>(sums[i] + two.first[i] + two.second[i]);
          const auto square =
              static_cast<uint16_t>(two.first[i] * two.first[i] + two.second[i] * two.second[i]);
          squares[i] += square;  // at most 2 · 128²
        }
      }
      for (size_t i = 0; i < kLanes; ++i) {
        clipped.sums[t * kTile + i / 2] += sums[i];
        *centre++ = static_cast<uint16_t>(-127 * sums[i]);
      }
      for (const uint32_t square : squares) norm = std::max(norm, static_cast<int32_t>(square));
    }
    clipped.norm.push_back(norm);
  }
}

void clip(PackedInt8& packed, const std::vector<Place>& places) {
  packed.clipped = std::make_unique<ClippedWeights>();
  take_rests(packed, places, *packed.clipped);
  add_norms_and_centres(packed, *packed.clipped);
}

/// Largest Σ weight² of the lanes of some quads.
int32_t norm_of(const int8_t* quads, int64_t count) {
  std::array<int32_t, kLanes> squares{};
  for (int64_t quad = 0; quad < count; ++quad) {
    const Pairs two(quads + quad * 4 * kTile);
    for (size_t i = 0; i < kLanes; ++i) {
      squares[i] += two.first[i] * two.first[i] + two.second[i] * two.second[i];
    }
  }
  return *std::max_element(squares.begin(), squares.end());
}

/// By Cauchy and Schwarz |Σ code · weight|² ≤ Σ code² · Σ weight².
void make_grouped(PackedInt8& packed, bool moved) {
  packed.grouped = std::make_unique<GroupedWeights>();
  GroupedWeights& made = *packed.grouped;
  made.moved = moved;
  const int group = GroupedWeights::group(moved);
  const int64_t a_tile = GroupedWeights::per_tile(packed.quads);
  made.limits.assign(static_cast<size_t>(packed.tile_count() * a_tile), 0);
  std::vector<int32_t> all;
  for (int64_t t = 0; t < packed.tile_count(); ++t) {
    for (int64_t quad = 0; quad < packed.quads; quad += group) {
      all.push_back(32767 * 32767 / std::max(1, norm_of(quad_of(packed, t, quad), group)));
      made.limits[static_cast<size_t>(t * a_tile + GroupedWeights::at(quad, moved))] =
          static_cast<uint8_t>(std::min(254, all.back() / GroupedWeights::unit(moved)));
    }
  }
  const auto chosen =
      all.begin() + static_cast<int64_t>(kTooLarge * static_cast<double>(all.size()));
  std::nth_element(all.begin(), chosen, all.end());
  made.code_norm = *chosen;
  if (!moved) return;
  auto* bytes = reinterpret_cast<uint8_t*>(packed.tiles.data<int8_t>());
  const int64_t count = packed.tiles.elements();
  for (int64_t i = 0; i < count; ++i) bytes[i] ^= 0x80;
}

}  // namespace

void prepare_pair_sums(PackedInt8& packed, bool from_relu) {
  const double all = static_cast<double>(packed.tile_count() * kTile * packed.quads);
  const auto places = find_excess(packed, static_cast<size_t>(kMostRests * all));
  if (places.has_value()) {
    clip(packed, *places);
  } else {
    make_grouped(packed, !from_relu);
  }
}

}  // namespace heddle::ops::cpu
