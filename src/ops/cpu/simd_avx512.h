// Sixteen floats in an AVX-512 register; the vocabulary is that of simd_portable.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace heddle::ops::cpu {

struct Avx512 {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kBlockRows = 12;  // 12 rows × 2 tiles of sums leave 8 of 32 registers
  static constexpr int kBlockTiles = 2;

  static Vec load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Vec a) { _mm512_storeu_ps(to, a); }
  static Vec set(float a) { return _mm512_set1_ps(a); }
  static Vec load_bf16(const uint16_t* from) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  static Vec abs(Vec a) { return _mm512_abs_ps(a); }
  static Vec select_below(Vec x, Vec bound, Vec a, Vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, bound, _CMP_LT_OQ), b, a);
  }
  static Vec exponent(Vec a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
  }
  static Vec from_ints(const int32_t* from) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(from)); }
  static void store_codes(uint8_t* to, const Vec (&v)[1], int zero) {
    const __m512i words = _mm512_add_epi32(_mm512_cvtps_epi32(v[0]), _mm512_set1_epi32(zero));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(words));
  }
};

}  // namespace heddle::ops::cpu
