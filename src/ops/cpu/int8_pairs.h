// Pieces of the products of codes by vpmaddubsw, which adds two products of an unsigned and a
// signed byte in 16 bits and saturates: see int8_clipped_weights.h and int8_grouped.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

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

/// The end of a group: its sums of 16 bits go to those of 32.
template <typename V, int R>
inline __attribute__((always_inline)) void add_widened(const __m256i (&pairs)[R][2],
                                                       PairSumsBlock<V, R>& sums) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < 2; ++i) {
      sums.at[r][i] = _mm256_add_epi32(sums.at[r][i], widened<V>(pairs[r][i]));
      HEDDLE_OPS_PIN(sums.at[r][i]);
    }
  }
}

}  // namespace heddle::ops::cpu
