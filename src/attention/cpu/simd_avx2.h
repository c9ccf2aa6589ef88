// Eight floats in an AVX2 register. The vocabulary of all simd_*.h: Vec also has + − × ÷ of its
// own.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace heddle::attention::cpu {

struct Avx2 {
  using Vec = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kBlockRows = 6;  // 6 rows × 2 vectors of sums leave 4 of 16 registers

  static Vec load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Vec a) { _mm256_storeu_ps(to, a); }
  static Vec set(float a) { return _mm256_set1_ps(a); }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }  ///< a·b + c
  static float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

  /// The larger one; b where either is NaN.
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec abs(Vec a) { return _mm256_andnot_ps(set(-0.0f), a); }

  /// The low 9 bits of each lane moved up to be sign and exponent.
  static Vec exponent(Vec a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23));
  }

  /// Lane i of a where bit i is set, else of b.
  static Vec select(uint32_t bits, Vec a, Vec b) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set_bits = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane);
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set_bits, lane)));
  }

  /// Lane of a where x < bound, else of b.
  static Vec select_below(Vec x, Vec bound, Vec a, Vec b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, bound, _CMP_LT_OQ));
  }

  /// first, first + 1, … as floats.
  static Vec count_from(int32_t first) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_set1_epi32(first), lane));
  }

  /// a0 b0 a1 b1 … over both vectors.
  static void zip(Vec a, Vec b, Vec& low, Vec& high) {
    const Vec even = _mm256_unpacklo_ps(a, b), odd = _mm256_unpackhi_ps(a, b);
    low = _mm256_permute2f128_ps(even, odd, 0x20);
    high = _mm256_permute2f128_ps(even, odd, 0x31);
  }
};

}  // namespace heddle::attention::cpu
