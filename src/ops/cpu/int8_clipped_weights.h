// The product of codes by vpmaddubsw with weights that were clipped so that no pair saturates (see
// ClippedWeights in packed.h): sums of up to 16 products in 16 bits before they are widened to 32.
#pragma once

#include "heddle/ops/cpu/finish.h"
#include "heddle/ops/cpu/int8_pairs.h"
#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

template <typename V>
struct PairTile {
  const int8_t* values;
  const uint16_t* centres;  ///< null: the codes are not centred
  int64_t quads;
};

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
        const __m256i x = repeat_four<V>(codes + r * stride + 4 * q);
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
    add_widened<V, R>(pairs, sums);
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
      const __m256i x = repeat_four<V>(codes + r * stride + 4 * quad);
      sums.at[r][0] = _mm256_add_epi32(sums.at[r][0], widened<V>(_mm256_maddubs_epi16(x, low)));
      sums.at[r][1] = _mm256_add_epi32(sums.at[r][1], widened<V>(_mm256_maddubs_epi16(x, high)));
      HEDDLE_OPS_PIN(sums.at[r][0]);
      HEDDLE_OPS_PIN(sums.at[r][1]);
    }
  }
  result = sums;
}

/// Largest Σ code² over the lanes of each group of 8 quads, as ClippedWeights::norm counts weights.
template <typename V>
inline int32_t norm_of_codes(const uint8_t* codes, int64_t quads, int zero) {
  const __m128i shift = _mm_set1_epi8(static_cast<char>(zero));
  __m256i largest = _mm256_setzero_si256();
  for (int64_t quad = 0; quad < quads; quad += 8) {
    __m256i sum = _mm256_setzero_si256();  // [quad][half]
    for (int q = 0; q < 8; q += 4) {
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

/// The norm of each row.
template <typename V>
void prepare_norms(const Int8Product& p) {
  auto* norms = reinterpret_cast<int32_t*>(p.prepared);
  for (int64_t r = 0; r < p.rows; ++r) {
    norms[r] = norm_of_codes<V>(p.codes + r * p.codes_stride, p.weight->quads, p.zero);
  }
}

/// One product on its way: rows in chunks that stay in the cache, all tiles for each.
template <typename V>
class ClippedWeightsProduct {
 public:
  explicit ClippedWeightsProduct(const Int8Product& p)
      : p_(p),
        weight_(*p.weight),
        clipped_(*p.weight->clipped),
        tiles_(p.weight->tile(0)),
        scales_(p.weight->scales.data<float>()),
        norms_(reinterpret_cast<const int32_t*>(p.prepared)) {}

  void run() {
    for (int64_t first = 0; first < p_.rows; first += kChunk) {
      const int64_t end = first + kChunk < p_.rows ? first + kChunk : p_.rows;
      for (int64_t n = p_.columns.first; n < p_.columns.end; n += kTile) {
        int64_t r = first;
        for (; r + 4 <= end; r += 4) block<4>(r, n);
        if (r + 2 <= end) {
          block<2>(r, n);
          r += 2;
        }
        if (r < end) block<1>(r, n);
      }
    }
  }

 private:
  static constexpr int64_t kChunk = 64;

  template <int R>
  void block(int64_t row, int64_t n) {
    const int64_t t = n / kTile;
    int64_t norm = 0;
    for (int r = 0; r < R; ++r) {
      const int64_t its_norm = norms_[row + r];
      norm = its_norm > norm ? its_norm : norm;
    }
    const bool fits = norm * clipped_.norm[static_cast<size_t>(t)] <= int64_t{32767} * 32767;
    // Centred groups are without their zero, others lose it here.
    const __m256i zero = _mm256_set1_epi32(fits ? 0 : -p_.zero);
    PairSumsBlock<V, R> sums;
    for (int i = 0; i < 2; ++i) {
      const __m256i offset =
          _mm256_mullo_epi32(load_bytes<V>(clipped_.sums.data() + n + 8 * i), zero);
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
    const uint8_t* codes = p_.codes + row * p_.codes_stride;
    PairTile<V> tile{tiles_ + t * weight_.quads * 4 * kTile, nullptr, weight_.quads};
    if (!fits) {
      add_pairs<V, R>(codes, p_.codes_stride, tile, sums);
    } else if (p_.zero == 0) {
      add_groups<V, R, false>(codes, p_.codes_stride, tile, sums);
    } else {
      tile.centres = clipped_.centres.data() + t * (weight_.quads / 8) * 2 * kTile;
      add_groups<V, R, true>(codes, p_.codes_stride, tile, sums);
    }
  }

  template <int R>
  __attribute__((always_inline)) void add_rests(int64_t row, int64_t t,
                                                PairSumsBlock<V, R>& sums) const {
    const int32_t begin = clipped_.rest_offset[static_cast<size_t>(t)];
    const int32_t end = clipped_.rest_offset[static_cast<size_t>(t) + 1];
    if (begin == end) return;
    for (int32_t i = begin; i < end; ++i) {
      const ClippedWeights::Rest rest = clipped_.rests[static_cast<size_t>(i)];
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
  const ClippedWeights& clipped_;
  const int8_t* tiles_;
  const float* scales_;
  const int32_t* norms_;
};

}  // namespace heddle::ops::cpu
