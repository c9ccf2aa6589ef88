// Dots of one row of codes with chosen rows of weights in plain order, for shortlists. The rows lie
// anywhere in a large table, so those that come are asked for ahead.
#pragma once

#include <immintrin.h>

#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// Sums to logits.
template <typename D>
inline void finish_dots(const RowDots& d, int zero) {
  const int32_t* weight_sums = d.int8->sums.data<int32_t>();
  const float* scales = d.int8->scales.data<float>();
  for (int64_t c = 0; c < d.count; ++c) {
    const int64_t n = d.ids[c];
    const float y = static_cast<float>(d.totals[c] - zero * weight_sums[n]) * (scales[n] * d.step);
    d.logits[c] = d.bias != nullptr ? y + d.bias[n] : y;
  }
}

/// Asks for row number `at` of the list.
template <typename D>
inline __attribute__((always_inline)) void prefetch_row(const RowDots& d, const int8_t* table,
                                                        int64_t columns, int64_t at) {
  constexpr int64_t kLine = 64;
  if (at >= d.count) return;
  const int8_t* row = table + d.ids[at] * columns;
  for (int64_t k = 0; k < columns; k += kLine) __builtin_prefetch(row + k);
}

/// D is what a row of codes is to a kernel: D::kBytes codes at a time meet as many weights.
///   AVX2: |code| · (± weight), codes without their zero; VNNI: codes as they are.
template <typename D>
void dot_rows_int8(const RowDots& d) {
  constexpr int64_t kRows = 4, kAhead = 4 * kRows;
  const PackedInt8& w = *d.int8;
  const int64_t columns = w.columns, whole = columns / D::kBytes * D::kBytes;
  const int8_t* table = w.plain.data<int8_t>();
  const int zero = D::prepare(d, whole);  // that the products still hold
  for (int64_t at = 0; at < kAhead; ++at) prefetch_row<D>(d, table, columns, at);
  for (int64_t first = 0; first < d.count; first += kRows) {
    const int8_t* rows[kRows];
    for (int64_t c = 0; c < kRows; ++c) {
      const int64_t at = first + c < d.count ? first + c : d.count - 1;
      rows[c] = table + d.ids[at] * columns;
      prefetch_row<D>(d, table, columns, first + c + kAhead);
    }
    typename D::Vec sums[kRows];
    for (int64_t c = 0; c < kRows; ++c) sums[c] = D::none();
    for (int64_t k = 0; k < whole; k += D::kBytes) {
      const typename D::Codes codes = D::load(d, k);
      for (int64_t c = 0; c < kRows; ++c) sums[c] = D::add(sums[c], codes, rows[c] + k);
    }
    alignas(16) int32_t four[kRows];
    D::reduce(sums, four);
    for (int64_t k = whole; k < columns; ++k) {
      for (int64_t c = 0; c < kRows; ++c) four[c] += (d.codes[k] - (d.zero - zero)) * rows[c][k];
    }
    const int64_t count = d.count - first < kRows ? d.count - first : kRows;
    __builtin_memcpy(d.totals + first, four, static_cast<size_t>(count) * sizeof(int32_t));
  }
  finish_dots<D>(d, zero);
}

/// Four vectors of eight sums to four sums.
template <typename V>
inline __m128i reduce_four(const __m256i (&sums)[4]) {
  const __m256i low = _mm256_hadd_epi32(sums[0], sums[1]);
  const __m256i high = _mm256_hadd_epi32(sums[2], sums[3]);
  const __m256i both = _mm256_hadd_epi32(low, high);
  return _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
}

}  // namespace heddle::ops::cpu
