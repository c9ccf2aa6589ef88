// The product of codes by vpmaddubsw, which adds two products in 16 bits, and by sums of such pairs
// in 16 bits (see PairSums in packed.h): up to 16 products before they are widened to 32.
#pragma once

#include <immintrin.h>

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
struct PairTile {
  const int8_t* values;
  const uint16_t* centres;  ///< null: the codes are not centred
  int64_t quads;
};

template <typename V>
inline __m256i load_bytes(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

/// Four codes of a row, for every column.
template <typename V>
inline __m256i repeat_quad(const uint8_t* codes) {
  int32_t quad;
  __builtin_memcpy(&quad, codes, 4);
  return _mm256_set1_epi32(quad);
}

template <typename V>
inline __m256i widened(__m256i pairs) {
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/// Groups of 8 quads in 16 bits, modulo 2^16.
template <typename V, int R, bool kCentred>
inline __attribute__((always_inline)) void add_groups(const uint8_t* codes, int64_t stride,
                                                      const PairTile<V>& tile,
                                                      PairSumsBlock<V, R>& result) {
  PairSumsBlock<V, R> sums = result;  // in registers, as far as there are any
  const int8_t* values = tile.values;
  const uint16_t* centres = tile.centres;
  for (int64_t quad = 0; quad < tile.quads; quad += 8) {
    __m256i pairs[R][2];
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
      const __m256i low = load_bytes<V>(values + 64 * q);
      const __m256i high = load_bytes<V>(values + 64 * q + 32);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m256i x = repeat_quad<V>(codes + r * stride + 4 * q);
        const __m256i first = _mm256_maddubs_epi16(x, low);
        const __m256i second = _mm256_maddubs_epi16(x, high);
        if (q > 0) {
          pairs[r][0] = _mm256_add_epi16(pairs[r][0], first);
          pairs[r][1] = _mm256_add_epi16(pairs[r][1], second);
        } else if (kCentred) {
          pairs[r][0] = _mm256_add_epi16(first, load_bytes<V>(centres));
          pairs[r][1] = _mm256_add_epi16(second, load_bytes<V>(centres + 16));
        } else {
          pairs[r][0] = first;
          pairs[r][1] = second;
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
    codes += 32;
    values += 8 * 64;
    if (kCentred) centres += 32;
  }
  result = sums;
}

/// Each pair is widened at once: exact for whatever codes.
template <typename V, int R>
inline __attribute__((always_inline)) void add_pairs(const uint8_t* codes, int64_t stride,
                                                     const PairTile<V>& tile,
                                                     PairSumsBlock<V, R>& result) {
  PairSumsBlock<V, R> sums = result;
  for (int64_t quad = 0; quad < tile.quads; ++quad) {
    const __m256i low = load_bytes<V>(tile.values + 64 * quad);
    const __m256i high = load_bytes<V>(tile.values + 64 * quad + 32);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m256i x = repeat_quad<V>(codes + r * stride + 4 * quad);
      sums.at[r][0] = _mm256_add_epi32(sums.at[r][0], widened<V>(_mm256_maddubs_epi16(x, low)));
      sums.at[r][1] = _mm256_add_epi32(sums.at[r][1], widened<V>(_mm256_maddubs_epi16(x, high)));
      HEDDLE_OPS_PIN(sums.at[r][0]);
      HEDDLE_OPS_PIN(sums.at[r][1]);
    }
  }
  result = sums;
}

/// For weights that were not clipped: |code| · (± weight), of which no pair saturates; groups of
/// kQuads in 16 bits. `codes` are signed, `sizes` their absolute values.
template <typename V, int R, int kQuads>
inline __attribute__((always_inline)) void add_signed(const uint8_t* codes, const uint8_t* sizes,
                                                      int64_t stride, const PairTile<V>& tile,
                                                      PairSumsBlock<V, R>& result) {
  PairSumsBlock<V, R> sums = result;
  const int8_t* values = tile.values;
  for (int64_t quad = 0; quad < tile.quads; quad += kQuads) {
    __m256i pairs[R][2];
#pragma GCC unroll 8
    for (int q = 0; q < kQuads; ++q) {
      const __m256i low = load_bytes<V>(values + 64 * q);
      const __m256i high = load_bytes<V>(values + 64 * q + 32);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m256i x = repeat_quad<V>(codes + r * stride + 4 * q);
        const __m256i size = repeat_quad<V>(sizes + r * stride + 4 * q);
        const __m256i first = _mm256_maddubs_epi16(size, _mm256_sign_epi8(low, x));
        const __m256i second = _mm256_maddubs_epi16(size, _mm256_sign_epi8(high, x));
        pairs[r][0] = q > 0 ? _mm256_add_epi16(pairs[r][0], first) : first;
        pairs[r][1] = q > 0 ? _mm256_add_epi16(pairs[r][1], second) : second;
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
    codes += 4 * kQuads;
    sizes += 4 * kQuads;
    values += kQuads * 64;
  }
  result = sums;
}

/// Largest Σ code² over the lanes of each group of `group` quads, as PairSums::norm counts weights.
template <typename V>
inline int32_t norm_of_codes(const uint8_t* codes, int64_t quads, int group, int zero) {
  const __m128i shift = _mm_set1_epi8(static_cast<char>(zero));
  __m256i largest = _mm256_setzero_si256();
  for (int64_t quad = 0; quad < quads; quad += group) {
    __m256i sum = _mm256_setzero_si256();  // [quad][half]
    for (int q = 0; q < group; q += 4) {
      const __m128i bytes =
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 4 * (quad + q)));
      const __m256i words = _mm256_cvtepi8_epi16(_mm_sub_epi8(bytes, shift));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, words));
    }
    sum = _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0x4e));
    sum = _mm256_add_epi32(sum, _mm256_permute4x64_epi64(sum, 0x4e));
    largest = _mm256_max_epi32(largest, sum);
  }
  const int even = _mm256_extract_epi32(largest, 0), odd = _mm256_extract_epi32(largest, 1);
  return even > odd ? even : odd;
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

/// One product on its way: rows in chunks that stay in the cache, all tiles for each.
template <typename V>
class PairProduct {
 public:
  explicit PairProduct(const Int8Product& p)
      : p_(p),
        weight_(*p.weight),
        pairs_(*p.weight->pairs),
        codes_(p.codes),
        distance_(p.rows * p.codes_stride),
        tiles_(p.weight->tile(0)),
        scales_(p.weight->scales.data<float>()) {
    if (pairs_.clipped) return;
    for (int64_t r = 0; r < p.rows; ++r) {
      const int64_t at = r * p.codes_stride;
      split_signs<V>(p.codes + at, 4 * weight_.quads, p.zero, p.scratch + at, distance_);
    }
    codes_ = p.scratch;
  }

  void run() {
    for (int64_t first = 0; first < p_.rows; first += kChunk) {
      const int64_t end = first + kChunk < p_.rows ? first + kChunk : p_.rows;
      for (int64_t r = first; r < end; ++r) {
        norms_[r - first] =
            norm_of_codes<V>(p_.codes + r * p_.codes_stride, weight_.quads, pairs_.group, p_.zero);
      }
      for (int64_t n = p_.columns.first; n < p_.columns.end; n += kTile) {
        int64_t r = first;
        for (; r + 4 <= end; r += 4) block<4>(r, first, n);
        if (r + 2 <= end) {
          block<2>(r, first, n);
          r += 2;
        }
        if (r < end) block<1>(r, first, n);
      }
    }
  }

 private:
  static constexpr int64_t kChunk = 64;

  template <int R>
  void block(int64_t row, int64_t first, int64_t n) {
    const int64_t t = n / kTile;
    int64_t norm = 0;
    for (int r = 0; r < R; ++r) {
      const int64_t its_norm = norms_[row + r - first];
      norm = its_norm > norm ? its_norm : norm;
    }
    const bool fits = norm * pairs_.norm[static_cast<size_t>(t)] <= int64_t{32767} * 32767;
    // Signed codes and centred groups are without their zero, others lose it here.
    const __m256i zero = _mm256_set1_epi32(pairs_.clipped && !fits ? -p_.zero : 0);
    PairSumsBlock<V, R> sums;
    for (int i = 0; i < 2; ++i) {
      const __m256i offset =
          _mm256_mullo_epi32(load_bytes<V>(pairs_.sums.data() + n + 8 * i), zero);
      for (int r = 0; r < R; ++r) sums.at[r][i] = offset;
    }
    multiply<R>(row, t, fits, sums);
    add_rests<R>(row, t, sums);
    const Lanes<V> scales = Lanes<V>::load(scales_ + n);
    with_finish<V>(p_.finish, n - p_.columns.first, p_.columns.end - n, [&](const auto& finish) {
      for (int r = 0; r < R; ++r) {
        const float step = p_.steps != nullptr ? p_.steps[row + r] : p_.step;
        const Lanes<V> y = Lanes<V>::map([&](int i) { return _mm256_cvtepi32_ps(sums.at[r][i]); });
        finish.row(row + r, y * (scales * Lanes<V>::set(step)));
      }
    });
  }

  template <int R>
  __attribute__((always_inline)) void multiply(int64_t row, int64_t t, bool fits,
                                               PairSumsBlock<V, R>& sums) {
    const uint8_t* codes = codes_ + row * p_.codes_stride;
    PairTile<V> tile{tiles_ + t * weight_.quads * 4 * kTile, nullptr, weight_.quads};
    if (!pairs_.clipped) {
      if (fits) {
        add_signed<V, R, 4>(codes, codes + distance_, p_.codes_stride, tile, sums);
      } else {
        add_signed<V, R, 1>(codes, codes + distance_, p_.codes_stride, tile, sums);
      }
    } else if (!fits) {
      add_pairs<V, R>(codes, p_.codes_stride, tile, sums);
    } else if (p_.zero == 0) {
      add_groups<V, R, false>(codes, p_.codes_stride, tile, sums);
    } else {
      tile.centres = pairs_.centres.data() + t * (weight_.quads / 8) * 2 * kTile;
      add_groups<V, R, true>(codes, p_.codes_stride, tile, sums);
    }
  }

  template <int R>
  __attribute__((always_inline)) void add_rests(int64_t row, int64_t t,
                                                PairSumsBlock<V, R>& sums) const {
    const int32_t begin = pairs_.rest_offset[static_cast<size_t>(t)];
    const int32_t end = pairs_.rest_offset[static_cast<size_t>(t) + 1];
    if (begin == end) return;
    for (int32_t i = begin; i < end; ++i) {
      const PairSums::Rest rest = pairs_.rests[static_cast<size_t>(i)];
      // The value in the lane of its column, as 16 bits beside zeros; the codes alike.
      const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      const __m256i column = _mm256_set1_epi32(rest.column);
      const __m256i value = _mm256_set1_epi32(rest.value & 0xffff);
      const __m256i first = _mm256_and_si256(_mm256_cmpeq_epi32(column, low), value);
      const __m256i second = _mm256_and_si256(
          _mm256_cmpeq_epi32(_mm256_sub_epi32(column, _mm256_set1_epi32(8)), low), value);
      const uint8_t* codes = p_.codes + row * p_.codes_stride + rest.k;
      for (int r = 0; r < R; ++r) {
        const __m256i code = _mm256_set1_epi32((codes[r * p_.codes_stride] - p_.zero) & 0xffff);
        sums.at[r][0] = _mm256_add_epi32(sums.at[r][0], _mm256_madd_epi16(code, first));
        sums.at[r][1] = _mm256_add_epi32(sums.at[r][1], _mm256_madd_epi16(code, second));
      }
    }
  }

  const Int8Product& p_;
  const PackedInt8& weight_;
  const PairSums& pairs_;
  const uint8_t* codes_;
  int64_t distance_;
  const int8_t* tiles_;
  const float* scales_;
  int32_t norms_[kChunk];
};

template <typename V>
void multiply_int8_pairs(const Int8Product& p) {
  PairProduct<V>(p).run();
}

}  // namespace heddle::ops::cpu
