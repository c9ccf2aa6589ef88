// Sixteen floats in an AVX-512 register; the vocabulary is that of simd_avx2.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace heddle::attention::cpu {

struct Avx512 {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kBlockRows = 12;  // 12 rows × 2 vectors of sums leave 8 of 32 registers

  static Vec load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Vec a) { _mm512_storeu_ps(to, a); }
  static Vec set(float a) { return _mm512_set1_ps(a); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec abs(Vec a) { return _mm512_abs_ps(a); }

  static Vec exponent(Vec a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
  }

  static Vec select(uint32_t bits, Vec a, Vec b) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(bits), b, a);
  }

  static Vec select_below(Vec x, Vec bound, Vec a, Vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, bound, _CMP_LT_OQ), b, a);
  }

  static Vec count_from(int32_t first) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_set1_epi32(first), lane));
  }

  static void zip(Vec a, Vec b, Vec& low, Vec& high) {
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    low = _mm512_permutex2var_ps(a, first, b);
    high = _mm512_permutex2var_ps(a, second, b);
  }
};

}  // namespace heddle::attention::cpu
