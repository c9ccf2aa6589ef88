// The product of codes by vpmaddubsw, which adds two products of an unsigned and a signed byte in
// 16 bits and saturates, and by sums of such pairs in 16 bits: up to 16 products before they are
// widened to 32. Exact for whatever codes and weights:
//
//   weights   w + 128, unsigned; the 128 · Σ code that is too much is known for each row
//   codes     signed; two neighbours whose sum is beyond ±128, which could saturate, lose what is
//   too
//             much, and the rests are multiplied by themselves: few, for most codes are small
//   groups    of 8, 4, 2 or 1 quads in 16 bits, modulo 2^16; exact while |Σ code · weight| < 2^15,
//             which is certain where (norm of the codes) · (norm of the weights) is
//             (Cauchy–Schwarz)
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <vector>

#include "heddle/ops/cpu/finish.h"
#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// Keeps the compiler from moving an addition away from its product: it would run out of registers.
#define HEDDLE_OPS_PIN(x) asm("" : "+x"(x))

/// Sums of R rows and 16 columns.
template <typename V, int R>
struct PairSumsBlock {
  __m256i at[R][2];
};

template <typename V>
inline __m256i load_bytes(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

/// Four bytes, for every column.
template <typename V>
inline __m256i repeat_four(const void* bytes) {
  int32_t four;
  __builtin_memcpy(&four, bytes, 4);
  return _mm256_set1_epi32(four);
}

template <typename V>
inline __m256i widened(__m256i pairs) {
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/// What was taken off the codes of a quad: the codes, and −128 times what two neighbours lost.
struct CodeRest {
  int32_t quad;
  int8_t codes[4];
  int16_t centres[2];
};

/// A row as the kernel takes it.
template <typename V>
struct PairRow {
  const int8_t* codes;     ///< [4 · quads]
  const int32_t* centres;  ///< [quads / 8], [quads / 4], [quads / 2], [quads]: for groups of each
                           ///< size two 16-bit numbers, −128 · Σ code of the even and odd pairs
  int32_t norms[kNormSizes];  ///< as PackedInt8::pair_norms
};

/// Groups of G quads in 16 bits.
template <typename V, int R, int G>
inline __attribute__((always_inline)) void add_groups(const PairRow<V>* rows, const uint8_t* values,
                                                      int64_t quads, int64_t centres_before,
                                                      PairSumsBlock<V, R>& result) {
  PairSumsBlock<V, R> sums = result;  // in registers, as far as there are any
  for (int64_t first = 0; first < quads; first += G) {
    __m256i pairs[R][2];
#pragma GCC unroll 8
    for (int q = 0; q < G; ++q) {
      const __m256i low = load_bytes<V>(values + 64 * q);
      const __m256i high = load_bytes<V>(values + 64 * q + 32);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m256i x = repeat_four<V>(rows[r].codes + 4 * (first + q));
        if (q == 0) {
          const __m256i centre = repeat_four<V>(rows[r].centres + centres_before + first / G);
          pairs[r][0] = _mm256_add_epi16(_mm256_maddubs_epi16(low, x), centre);
          pairs[r][1] = _mm256_add_epi16(_mm256_maddubs_epi16(high, x), centre);
        } else {
          pairs[r][0] = _mm256_add_epi16(pairs[r][0], _mm256_maddubs_epi16(low, x));
          pairs[r][1] = _mm256_add_epi16(pairs[r][1], _mm256_maddubs_epi16(high, x));
        }
        HEDDLE_OPS_PIN(pairs[r][0]);
        HEDDLE_OPS_PIN(pairs[r][1]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 2; ++i) {
        sums.at[r][i] = _mm256_add_epi32(sums.at[r][i], widened<V>(pairs[r][i]));
        HEDDLE_OPS_PIN(sums.at[r][i]);
      }
    }
    values += 64 * G;
  }
  result = sums;
}

/// Signed codes, and their sizes `distance` bytes behind.
template <typename V>
inline void split_signs(const uint8_t* codes, int64_t count, int zero, uint8_t* to,
                        int64_t distance) {
  const __m256i shift = _mm256_set1_epi8(static_cast<char>(zero));
  for (int64_t k = 0; k < count; k += 32) {
    const __m256i x = _mm256_sub_epi8(load_bytes<V>(codes + k), shift);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k), x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k + distance), _mm256_abs_epi8(x));
  }
}

/// Takes off what is too much of the pairs in `codes` [32]: bit 2 i of `mask` stands for pair i.
/// The rests of this row begin at number `begin`.
inline void clip_pairs(int8_t* codes, uint32_t mask, int64_t quad, size_t begin,
                       std::vector<CodeRest>& rests) {
  for (; mask != 0; mask &= mask - 1) {
    const int pair = __builtin_ctz(mask) / 2;
    int8_t* two = codes + 2 * pair;
    const int larger = (two[0] < 0 ? -two[0] : two[0]) >= (two[1] < 0 ? -two[1] : two[1]) ? 0 : 1;
    const int sum = two[0] + two[1], taken = sum > 0 ? sum - 128 : sum + 128;
    two[larger] = static_cast<int8_t>(two[larger] - taken);
    if (rests.size() == begin || rests.back().quad != quad + pair / 2) {
      rests.push_back({static_cast<int32_t>(quad + pair / 2), {0, 0, 0, 0}, {0, 0}});
    }
    rests.back().codes[2 * (pair % 2) + larger] = static_cast<int8_t>(taken);
    rests.back().centres[pair % 2] = static_cast<int16_t>(-128 * taken);
  }
}

/// Makes a row: `to` gets the codes, `centres` [15 / 8 · quads].
template <typename V>
inline PairRow<V> prepare_row(const uint8_t* from, int64_t quads, int zero, int8_t* to,
                              int32_t* centres, std::vector<CodeRest>& rests) {
  const __m256i shift = _mm256_set1_epi8(static_cast<char>(zero)), ones = _mm256_set1_epi8(1);
  const size_t begin = rests.size();
  int32_t* of[kNormSizes + 1] = {centres, centres + quads / 8, centres + 3 * quads / 8,
                                 centres + 7 * quads / 8};
  const __m256i kFours = _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0);
  const __m256i kTwos = _mm256_setr_epi32(0, 2, 4, 6, 0, 0, 0, 0);
  __m256i norms[kNormSizes];
  for (__m256i& norm : norms) norm = _mm256_setzero_si256();
  const auto grow = [&norms](int size, __m256i sums) {
    norms[size] = _mm256_max_epi32(norms[size], sums);
  };
  for (int64_t quad = 0; quad < quads; quad += 8) {
    __m256i x = _mm256_sub_epi8(load_bytes<V>(from + 4 * quad), shift);
    __m256i sums = _mm256_maddubs_epi16(ones, x);  // of two neighbours
    const __m256i beyond = _mm256_cmpgt_epi16(_mm256_abs_epi16(sums), _mm256_set1_epi16(128));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 4 * quad), x);
    if (const auto mask = static_cast<uint32_t>(_mm256_movemask_epi8(beyond)); mask != 0) {
      clip_pairs(to + 4 * quad, mask & 0x55555555u, quad, begin, rests);
      x = load_bytes<V>(to + 4 * quad);
      sums = _mm256_maddubs_epi16(ones, x);
    }
    const __m256i one = _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_slli_epi16(sums, 7));
    const __m256i two = _mm256_add_epi16(one, _mm256_shuffle_epi32(one, 0xb1));
    const __m256i four = _mm256_add_epi16(two, _mm256_shuffle_epi32(two, 0x4e));
    const __m256i eight = _mm256_add_epi16(four, _mm256_permute4x64_epi64(four, 0x4e));
    const auto packed = [](__m256i words, __m256i places) {
      return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(words, places));
    };
    _mm_storeu_si32(of[0] + quad / 8, _mm256_castsi256_si128(eight));
    _mm_storeu_si64(of[1] + quad / 4, packed(four, kFours));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(of[2] + quad / 2), packed(two, kTwos));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(of[3] + quad), one);

    __m256i both[2];  // of two quads, then four: [quad][pair]
    for (int half = 0; half < 2; ++half) {
      const __m256i words = _mm256_cvtepi8_epi16(half == 0 ? _mm256_castsi256_si128(x)
                                                           : _mm256_extracti128_si256(x, 1));
      const __m256i squares = _mm256_madd_epi16(words, words);
      both[half] = _mm256_add_epi32(squares, _mm256_shuffle_epi32(squares, 0x4e));
      grow(2, both[half]);
      both[half] = _mm256_add_epi32(both[half], _mm256_permute4x64_epi64(both[half], 0x4e));
      grow(1, both[half]);
    }
    grow(0, _mm256_add_epi32(both[0], both[1]));
  }
  PairRow<V> row{to, centres, {}};
  for (int size = 0; size < kNormSizes; ++size) {
    alignas(32) int32_t lanes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), norms[size]);
    row.norms[size] = *std::max_element(lanes, lanes + 8);
  }
  return row;
}

/// One product on its way.
template <typename V>
class PairProduct {
 public:
  explicit PairProduct(const Int8Product& p)
      : p_(p), weight_(*p.weight), scales_(p.weight->scales.data<float>()) {}

  /// Rows in chunks, columns in panels of tiles, and both in parts that stay in the first-level
  /// cache: a weight comes from memory once a chunk, a panel from the second-level cache once a
  /// part.
  void run() {
    const int64_t panel = std::max<int64_t>(1, kPanelBytes / (4 * weight_.quads * kTile)) * kTile;
    for (int64_t first = 0; first < p_.rows; first += kChunkRows) {
      const int64_t end = std::min(first + kChunkRows, p_.rows);
      prepare(first, end);
      for (int64_t n = p_.columns.first; n < p_.columns.end; n += panel) {
        const Span columns{n, std::min(n + panel, p_.columns.end)};
        for (int64_t r = first; r < end; r += kPartRows) {
          multiply_part(r, std::min(r + kPartRows, end), first, columns);
        }
      }
    }
  }

 private:
  static constexpr int64_t kPanelBytes = 128 << 10, kPartRows = 16;

  void multiply_part(int64_t begin, int64_t end, int64_t first, const Span& columns) {
    for (int64_t n = columns.first; n < columns.end; n += kTile) {
      int64_t r = begin;
      for (; r + 4 <= end; r += 4) block<4>(r, first, n);
      if (r + 2 <= end) {
        block<2>(r, first, n);
        r += 2;
      }
      if (r < end) block<1>(r, first, n);
    }
  }

  void prepare(int64_t first, int64_t end) {
    rests_.clear();
    const int64_t stride = p_.codes_stride;
    for (int64_t r = first; r < end; ++r) {
      const int64_t i = r - first;
      rest_begin_[i] = rests_.size();
      auto* codes = reinterpret_cast<int8_t*>(p_.scratch + i * 3 * stride);
      auto* centres = reinterpret_cast<int32_t*>(codes + stride);
      rows_[i] =
          prepare_row<V>(p_.codes + r * stride, weight_.quads, p_.zero, codes, centres, rests_);
    }
    rest_begin_[end - first] = rests_.size();
  }

  template <int R>
  void block(int64_t row, int64_t first, int64_t n) {
    const int64_t t = n / kTile, i = row - first;
    const auto* values = reinterpret_cast<const uint8_t*>(weight_.tile(t));
    PairSumsBlock<V, R> sums;
    for (int r = 0; r < R; ++r) sums.at[r][0] = sums.at[r][1] = _mm256_setzero_si256();
    const int64_t quads = weight_.quads;
    switch (largest_group<R>(i, t)) {
      case 0:
        add_groups<V, R, 8>(rows_ + i, values, quads, 0, sums);
        break;
      case 1:
        add_groups<V, R, 4>(rows_ + i, values, quads, quads / 8, sums);
        break;
      case 2:
        add_groups<V, R, 2>(rows_ + i, values, quads, 3 * quads / 8, sums);
        break;
      default:
        add_groups<V, R, 1>(rows_ + i, values, quads, 7 * quads / 8, sums);
    }
    if (rest_begin_[i] != rest_begin_[i + R]) {
      for (int r = 0; r < R; ++r) add_rests(i + r, values, sums.at[r]);
    }
    const Lanes<V> scales = Lanes<V>::load(scales_ + n);
    with_finish<V>(p_.finish, n - p_.columns.first, p_.columns.end - n, [&](const auto& finish) {
      for (int r = 0; r < R; ++r) {
        const float step = p_.steps != nullptr ? p_.steps[row + r] : p_.step;
        const Lanes<V> y = Lanes<V>::map([&](int h) { return _mm256_cvtepi32_ps(sums.at[r][h]); });
        finish.row(row + r, y * (scales * Lanes<V>::set(step)));
      }
    });
  }

  /// 0, 1, 2: groups of 8, 4 or 2 quads are sure to fit 16 bits; 3: a single quad, which always
  /// does.
  template <int R>
  int largest_group(int64_t i, int64_t t) const {
    for (int size = 0; size < kNormSizes; ++size) {
      int64_t norm = 0;
      for (int r = 0; r < R; ++r) norm = std::max<int64_t>(norm, rows_[i + r].norms[size]);
      if (norm * weight_.pair_norms[static_cast<size_t>(t)][static_cast<size_t>(size)] <=
          int64_t{32767} * 32767) {
        return size;
      }
    }
    return kNormSizes;
  }

  void add_rests(int64_t i, const uint8_t* values, __m256i (&sums)[2]) const {
    for (size_t at = rest_begin_[i]; at < rest_begin_[i + 1]; ++at) {
      const CodeRest& rest = rests_[at];
      const __m256i x = repeat_four<V>(rest.codes), centre = repeat_four<V>(rest.centres);
      for (int h = 0; h < 2; ++h) {
        const __m256i pairs =
            _mm256_maddubs_epi16(load_bytes<V>(values + 64 * rest.quad + 32 * h), x);
        sums[h] = _mm256_add_epi32(sums[h], widened<V>(_mm256_add_epi16(pairs, centre)));
      }
    }
  }

  const Int8Product& p_;
  const PackedInt8& weight_;
  const float* scales_;
  PairRow<V> rows_[kChunkRows];  // of the chunk
  std::vector<CodeRest> rests_;  // of its rows, one after another
  size_t rest_begin_[kChunkRows + 1];
};

template <typename V>
void multiply_int8_pairs(const Int8Product& p) {
  PairProduct<V>(p).run();
}

}  // namespace heddle::ops::cpu
