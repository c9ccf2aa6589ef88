#include "heddle/ops/cpu/pair_sums.h"

#include <algorithm>
#include <cstdlib>

namespace heddle::ops::cpu {

namespace {

/// Two products of codes up to 254 fit 16 bits while weights of one sign sum up to no more.
constexpr int kPairLimit = 32767 / 254;

/// Clip where no more than this share of the quads has a rest: each costs a product by hand.
constexpr double kMostRests = 0.01;

/// What two neighbours lose, the larger one first.
int excess(int a, int b) {
  const bool same_sign = (a > 0) == (b > 0);
  const int size = same_sign ? std::abs(a + b) : std::max(std::abs(a), std::abs(b));
  return std::max(0, size - kPairLimit);
}

/// Calls body(tile, column, k of the first, values of the two) for each pair.
template <typename Body>
void for_each_pair(const PackedInt8& packed, const Body& body) {
  for (int64_t t = 0; t < packed.tile_count(); ++t) {
    int8_t* tile = const_cast<int8_t*>(packed.tile(t));
    for (int64_t quad = 0; quad < packed.quads; ++quad) {
      for (int column = 0; column < kTile; ++column) {
        for (int half = 0; half < 2; ++half) {
          body(t, column, 4 * quad + 2 * half, tile + quad * 4 * kTile + 4 * column + 2 * half);
        }
      }
    }
  }
}

void clip(PackedInt8& packed, PairSums& pairs) {
  int64_t done = 0;  // tiles whose rests are all there
  for_each_pair(packed, [&](int64_t t, int column, int64_t k, int8_t* pair) {
    for (; done <= t; ++done) pairs.rest_offset.push_back(static_cast<int32_t>(pairs.rests.size()));
    while (const int size = excess(pair[0], pair[1])) {
      const int i = std::abs(pair[0]) >= std::abs(pair[1]) ? 0 : 1;
      const int taken = std::min(size, std::abs(int{pair[i]})) * (pair[i] > 0 ? 1 : -1);
      pair[i] = static_cast<int8_t>(pair[i] - taken);
      pairs.rests.push_back({column, static_cast<int32_t>(k) + i, taken});
    }
  });
  pairs.rest_offset.push_back(static_cast<int32_t>(pairs.rests.size()));
}

void add_norms_and_centres(const PackedInt8& packed, PairSums& pairs) {
  const int64_t groups = packed.quads / pairs.group;
  const auto count = static_cast<size_t>(packed.tile_count() * groups * 2 * kTile);
  std::vector<int32_t> sums(count), squares(count);
  pairs.sums.assign(static_cast<size_t>(packed.tile_count() * kTile), 0);
  for_each_pair(packed, [&](int64_t t, int column, int64_t k, const int8_t* pair) {
    const auto lane = static_cast<size_t>((t * groups + k / 4 / pairs.group) * 2 * kTile +
                                          2 * column + k % 4 / 2);
    sums[lane] += pair[0] + pair[1];
    pairs.sums[static_cast<size_t>(t * kTile + column)] += pair[0] + pair[1];
    squares[lane] += pair[0] * pair[0] + pair[1] * pair[1];
  });
  for (const int32_t sum : sums) pairs.centres.push_back(static_cast<uint16_t>(-127 * sum));
  const auto lanes = static_cast<size_t>(groups * 2 * kTile);
  for (size_t t = 0; t < static_cast<size_t>(packed.tile_count()); ++t) {
    const auto first = squares.begin() + static_cast<std::ptrdiff_t>(t * lanes);
    pairs.norm.push_back(*std::max_element(first, first + static_cast<std::ptrdiff_t>(lanes)));
  }
}

}  // namespace

void add_pair_sums(PackedInt8& packed) {
  auto pairs = std::make_unique<PairSums>();
  int64_t rests = 0;
  for_each_pair(packed, [&](int64_t, int, int64_t, const int8_t* pair) {
    rests += excess(pair[0], pair[1]) > 0 ? 1 : 0;
  });
  const double all = static_cast<double>(packed.tile_count() * kTile * packed.quads);
  pairs->clipped = static_cast<double>(rests) <= kMostRests * all;
  pairs->group = pairs->clipped ? 8 : 4;
  if (pairs->clipped) {
    clip(packed, *pairs);
  } else {
    pairs->rest_offset.assign(static_cast<size_t>(packed.tile_count()) + 1, 0);
  }
  add_norms_and_centres(packed, *pairs);
  packed.pairs = std::move(pairs);
}

}  // namespace heddle::ops::cpu
