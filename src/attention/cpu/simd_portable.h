// Four floats in the vector type that GCC and Clang have on every processor; the vocabulary is that
// of simd_avx2.h.
#pragma once

#include <cstdint>
#include <cstring>

namespace heddle::attention::cpu {

struct Portable {
  using Vec = float __attribute__((vector_size(16)));
  using Words = int32_t __attribute__((vector_size(16)));
  using Bits = uint32_t __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  static constexpr int kBlockRows = 6;

  static Vec load(const float* from) {
    Vec a;
    std::memcpy(&a, from, sizeof a);
    return a;
  }
  static void store(float* to, Vec a) { std::memcpy(to, &a, sizeof a); }
  static Vec set(float a) { return Vec{a, a, a, a}; }
  static Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
  static float fma(float a, float b, float c) { return a * b + c; }
  static Vec max(Vec a, Vec b) { return a > b ? a : b; }
  static Vec abs(Vec a) { return reinterpret_cast<Vec>(reinterpret_cast<Bits>(a) & 0x7fffffffu); }
  static Vec exponent(Vec a) { return reinterpret_cast<Vec>(reinterpret_cast<Bits>(a) << 23); }

  static Vec select(uint32_t bits, Vec a, Vec b) {
    const Bits lane = {1, 2, 4, 8};
    const Words chosen = (Bits{bits, bits, bits, bits} & lane) == lane;
    return chosen ? a : b;
  }

  static Vec select_below(Vec x, Vec bound, Vec a, Vec b) {
    const Words chosen = x < bound;
    return chosen ? a : b;
  }

  static Vec count_from(int32_t first) {
    return __builtin_convertvector((Words{first, first + 1, first + 2, first + 3}), Vec);
  }

  static void zip(Vec a, Vec b, Vec& low, Vec& high) {
    low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  }
};

}  // namespace heddle::attention::cpu
