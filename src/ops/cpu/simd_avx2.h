// Eight floats in an AVX2 register; the vocabulary is that of simd_portable.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace heddle::ops::cpu {

struct Avx2 {
  using Vec = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kBlockRows = 6;  // 6 rows × 2 vectors of sums leave 4 of 16 registers
  static constexpr int kBlockTiles = 1;

  static Vec load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Vec a) { _mm256_storeu_ps(to, a); }
  static Vec set(float a) { return _mm256_set1_ps(a); }
  static Vec load_bf16(const uint16_t* from) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  static Vec abs(Vec a) { return _mm256_andnot_ps(set(-0.0f), a); }
  static Vec select_below(Vec x, Vec bound, Vec a, Vec b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, bound, _CMP_LT_OQ));
  }
  static Vec exponent(Vec a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23));
  }
  static Vec from_ints(const int32_t* from) {
    return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static void store_codes(uint8_t* to, const Vec (&v)[2], int zero) {
    const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1]));
    const __m256i shifted =
        _mm256_add_epi16(words, _mm256_set1_epi16(static_cast<int16_t>(zero)));  // 0 2 1 3
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(shifted),
                                           _mm256_extracti128_si256(shifted, 1));  // 0 2 1 3
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi32(bytes, 0xd8));
  }
};

/// The same, for files that may use AVX-VNNI too.
struct AvxVnni : Avx2 {};

}  // namespace heddle::ops::cpu
