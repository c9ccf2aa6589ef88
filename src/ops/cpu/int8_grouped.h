// The product of codes by vpmaddubsw for weights of whatever size, in groups of quads that are
// added in 16 bits, modulo 2^16. That is exact where |Σ code · weight| ≤ √(Σ code² · Σ weight²) ≤
// 32767; groups for which this is not certain are multiplied as 16-bit numbers.
//
//   moved       weights w + 128, unsigned; the 128 · Σ code that is too much is known for each row.
//               Codes are signed, and clipped so that two neighbours do not saturate and most
//               groups fit; what was taken off, of some quads in a hundred, is multiplied by itself
//   not moved   weights as they are, for codes that are not negative, where nothing saturates
#pragma once

#include <algorithm>

#include "heddle/ops/cpu/finish.h"
#include "heddle/ops/cpu/int8_prepared_codes.h"

namespace heddle::ops::cpu {

/// R prepared rows and a tile, from some group on.
template <int R>
struct CodesAndTile {
  const uint8_t* codes;    ///< of the first row
  const uint8_t* centres;  ///< alike
  int64_t stride;          ///< bytes between rows
  const int8_t* values;
};

template <typename V, bool kMoved>
inline __m256i products(__m256i weights, __m256i codes) {
  return kMoved ? _mm256_maddubs_epi16(weights, codes) : _mm256_maddubs_epi16(codes, weights);
}

/// A group whose sums fit 16 bits.
template <typename V, bool kMoved, int R>
inline __attribute__((always_inline)) void add_group(const CodesAndTile<R>& at,
                                                     PairSumsBlock<V, R>& sums) {
  constexpr int kQuads = GroupedWeights::group(kMoved);
  __m256i pairs[R][2];
#pragma GCC unroll 8
  for (int q = 0; q < kQuads; ++q) {
    const __m256i low = load_bytes<V>(at.values + 64 * q);
    const __m256i high = load_bytes<V>(at.values + 64 * q + 32);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m256i x = repeat_four<V>(at.codes + r * at.stride + 4 * q);
      const __m256i first = products<V, kMoved>(low, x), second = products<V, kMoved>(high, x);
      if (q > 0) {
        pairs[r][0] = _mm256_add_epi16(pairs[r][0], first);
        pairs[r][1] = _mm256_add_epi16(pairs[r][1], second);
      } else if (kMoved) {
        const __m256i centre = repeat_four<V>(at.centres + r * at.stride);
        pairs[r][0] = _mm256_add_epi16(first, centre);
        pairs[r][1] = _mm256_add_epi16(second, centre);
      } else {
        pairs[r][0] = first;
        pairs[r][1] = second;
      }
      HEDDLE_OPS_PIN(pairs[r][0]);
      HEDDLE_OPS_PIN(pairs[r][1]);
    }
  }
  add_widened<V, R>(pairs, sums);
}

/// Bytes 0 and 2, or 1 and 3, of every four as 16-bit numbers.
template <typename V>
inline __m256i even_bytes(__m256i bytes) {
  return _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
}
template <typename V>
inline __m256i odd_bytes(__m256i bytes) {
  return _mm256_srai_epi16(bytes, 8);
}

/// Any group, as 16-bit numbers.
template <typename V, bool kMoved, int R>
inline __attribute__((always_inline)) void add_words(const CodesAndTile<R>& at,
                                                     PairSumsBlock<V, R>& sums) {
  const __m256i moved = _mm256_set1_epi8(kMoved ? -128 : 0);
  for (int q = 0; q < GroupedWeights::group(kMoved); ++q) {
    for (int i = 0; i < 2; ++i) {
      const __m256i weights = _mm256_xor_si256(load_bytes<V>(at.values + 64 * q + 32 * i), moved);
      const __m256i even = even_bytes<V>(weights), odd = odd_bytes<V>(weights);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m256i x = repeat_four<V>(at.codes + r * at.stride + 4 * q);
        const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(even, even_bytes<V>(x)),
                                             _mm256_madd_epi16(odd, odd_bytes<V>(x)));
        sums.at[r][i] = _mm256_add_epi32(sums.at[r][i], sum);
      }
    }
  }
}

/// One product on its way. Rows go in parts, columns in panels and depth in slices, so that a
/// weight comes from memory once, and a slice of a tile and of the part's codes stay in the
/// first-level cache.
template <typename V, bool kMoved>
class GroupedProduct {
 public:
  explicit GroupedProduct(const Int8Product& p)
      : p_(p), weight_(*p.weight), grouped_(*p.weight->grouped), block_(p.weight->quads) {}

  void run() {
    const int64_t panel = std::max<int64_t>(1, kPanelBytes / (4 * weight_.quads * kTile)) * kTile;
    for (int64_t first = p_.columns.first; first < p_.columns.end; first += panel) {
      const int64_t end = std::min(first + panel, p_.columns.end);
      for (int64_t row = 0; row < p_.rows; row += kPartRows) {
        const int64_t rows = std::min(kPartRows, p_.rows - row);
        for (int64_t n = first; n < end; n += kTile) multiply_tile(row, rows, n);
      }
    }
  }

 private:
  static constexpr int64_t kPanelBytes = 128 << 10, kPartRows = 32;
  static constexpr int64_t kQuadBytes = 4 * kTile, kGroup = GroupedWeights::group(kMoved);
  static constexpr int64_t kBlockRows = PreparedBlock::kRows;
  static constexpr int64_t kSlice = GroupedWeights::kSlice;  // 8 KiB of a tile, 20 of a part

  const uint8_t* prepared(int64_t row) const {
    return p_.prepared + row / kBlockRows * block_.bytes;
  }

  void multiply_tile(int64_t first, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r += kBlockRows) add_rests(first + r, n, sums_ + r);
    for (int64_t slice = 0; slice < weight_.quads; slice += kSlice) {
      const Span quads{slice, std::min(slice + kSlice, weight_.quads)};
      int64_t r = 0;
      for (; r + 4 <= rows; r += 4) add_slice<4>(first + r, n, quads, sums_ + r);
      if (r + 3 == rows) add_slice<3>(first + r, n, quads, sums_ + r);
      if (r + 2 == rows) add_slice<2>(first + r, n, quads, sums_ + r);
      if (r + 1 == rows) add_slice<1>(first + r, n, quads, sums_ + r);
    }
    const Lanes<V> scales = Lanes<V>::load(weight_.scales.template data<float>() + n);
    with_finish<V>(p_.finish, n - p_.columns.first, p_.columns.end - n, [&](const auto& finish) {
      for (int64_t r = 0; r < rows; ++r) {
        const float step = p_.steps != nullptr ? p_.steps[first + r] : p_.step;
        finish.row(first + r, as_floats<V>(sums_[r]) * (scales * Lanes<V>::set(step)));
      }
    });
  }

  static void store(int32_t* to, __m256i sums) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), sums);
  }

  PreparedBlock::Head head(int64_t row) const {
    PreparedBlock::Head head;
    __builtin_memcpy(&head, prepared(row) + block_.head, sizeof head);
    return head;
  }

  /// Sums of what was taken off the codes of a block.
  void add_rests(int64_t row, int64_t n, int32_t (*to)[kTile]) const {
    const int8_t* values = weight_.tile(n / kTile);
    const PreparedBlock::Head head = this->head(row);
    const auto* first = reinterpret_cast<const CodeRests*>(prepared(row) + block_.rests);
    const CodeRests* rests = first;
    for (int r = 0; r < kBlockRows; ++r) {
      const __m256i begin = _mm256_set1_epi32(head.begin[r]);
      __m256i sums[2] = {begin, begin};
      for (const CodeRests* end = first + head.rest_end[r]; rests != end; ++rests) {
        __m256i pairs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 8
        for (int q = 0; q < CodeRests::kQuads; ++q) {
          const __m256i x = repeat_four<V>(rests->codes[q]);
          for (int i = 0; i < 2; ++i) {
            const __m256i weights = load_bytes<V>(values + rests->offset[q] + 32 * i);
            pairs[i] = _mm256_add_epi16(pairs[i], products<V, kMoved>(weights, x));
          }
        }
        for (int i = 0; i < 2; ++i) sums[i] = _mm256_add_epi32(sums[i], widened<V>(pairs[i]));
      }
      for (int i = 0; i < 2; ++i) store(to[r] + 8 * i, sums[i]);
    }
  }

  /// A bit for each group of a slice whose sums fit 16 bits.
  uint32_t fitting(int64_t row, int64_t t, int64_t quad) const {
    const int64_t at = GroupedWeights::at(quad, kMoved);
    const int64_t a_tile = GroupedWeights::per_tile(weight_.quads);
    const __m256i limits = load_bytes<V>(grouped_.limits.data() + t * a_tile + at);
    const __m256i norms = load_bytes<V>(prepared(row) + block_.norms + at);
    const __m256i fit = _mm256_cmpeq_epi8(_mm256_max_epu8(limits, norms), limits);
    return static_cast<uint32_t>(_mm256_movemask_epi8(fit));
  }

  template <int R>
  __attribute__((noinline)) void add_slice(int64_t row, int64_t n, const Span& quads,
                                           int32_t (*to)[kTile]) const {
    const int64_t t = n / kTile;
    const uint8_t* codes = prepared(row);
    uint32_t fits = fitting(row, t, quads.first);
    CodesAndTile<R> at{codes + 4 * quads.first, codes + block_.centres + quads.first, block_.row,
                       weight_.tile(t) + quads.first * kQuadBytes};
    PairSumsBlock<V, R> sums;  // in registers, as far as there are any
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 2; ++i) sums.at[r][i] = load_bytes<V>(to[r] + 8 * i);
    }
    // Each of four blocks asks for a quarter of the slice that follows this one.
    const int8_t* ahead = at.values + kSlice * kQuadBytes + row / kBlockRows % 4 * kQuadBytes;
    for (int64_t quad = quads.first; quad < quads.end; quad += kGroup, fits >>= 1) {
      for (int i = 0; i < kGroup; i += 4) __builtin_prefetch(ahead + i * kQuadBytes);
      ahead += kGroup * kQuadBytes;
      if ((fits & 1) != 0) [[likely]] {
        add_group<V, kMoved, R>(at, sums);
      } else {
        add_words<V, kMoved, R>(at, sums);
      }
      at.codes += 4 * kGroup;
      at.centres += kGroup;
      at.values += kGroup * kQuadBytes;
    }
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 2; ++i) store(to[r] + 8 * i, sums.at[r][i]);
    }
  }

  const Int8Product& p_;
  const PackedInt8& weight_;
  const GroupedWeights& grouped_;
  PreparedBlock block_;
  alignas(32) int32_t sums_[kPartRows][kTile];
};

}  // namespace heddle::ops::cpu
