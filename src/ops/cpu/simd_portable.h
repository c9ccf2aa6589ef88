// Four floats in the vector type that GCC and Clang have on every processor. The vocabulary of all
// simd_*.h; Vec also has + − × ÷ of its own.
#pragma once

#include <cstdint>
#include <cstring>

namespace heddle::ops::cpu {

struct Portable {
  using Vec = float __attribute__((vector_size(16)));
  using Words = int32_t __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  static constexpr int kBlockRows = 4;   ///< rows × tiles of sums in a product of floats
  static constexpr int kBlockTiles = 1;  ///< tiles of 16 columns

  static Vec load(const float* from) {
    Vec a;
    std::memcpy(&a, from, sizeof a);
    return a;
  }
  static void store(float* to, Vec a) { std::memcpy(to, &a, sizeof a); }
  static Vec set(float a) { return Vec{a, a, a, a}; }

  /// Four bfloat16 as floats.
  static Vec load_bf16(const uint16_t* from) {
    uint16_t halves[4];
    std::memcpy(halves, from, sizeof halves);
    const Words words = {halves[0] << 16, halves[1] << 16, halves[2] << 16, halves[3] << 16};
    return reinterpret_cast<Vec>(words);
  }

  /// a·b + c, rounded once where the processor can.
  static Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }

  /// The larger, the smaller one; b where either is NaN.
  static Vec max(Vec a, Vec b) { return a > b ? a : b; }
  static Vec min(Vec a, Vec b) { return a < b ? a : b; }
  static Vec abs(Vec a) { return reinterpret_cast<Vec>(reinterpret_cast<Words>(a) & 0x7fffffff); }

  /// Lane of a where x < bound, else of b.
  static Vec select_below(Vec x, Vec bound, Vec a, Vec b) { return x < bound ? a : b; }

  /// The low 9 bits of each lane moved up to be sign and exponent.
  static Vec exponent(Vec a) {
    using Bits = uint32_t __attribute__((vector_size(16)));
    return reinterpret_cast<Vec>(reinterpret_cast<Bits>(a) << 23);
  }

  static Vec from_ints(const int32_t* from) {
    Words words;
    std::memcpy(&words, from, sizeof words);
    return __builtin_convertvector(words, Vec);
  }

  /// Bytes zero + rint(v) of 16 values in [−127, 127].
  static void store_codes(uint8_t* to, const Vec (&v)[4], int zero) {
    // Adding 1.5 · 2^23 rounds to an integer, half to even, and leaves it in the low bits.
    for (int i = 0; i < 4; ++i) {
      const Words rounded = reinterpret_cast<Words>(v[i] + 12582912.0f) + zero;
      for (int lane = 0; lane < 4; ++lane) to[4 * i + lane] = static_cast<uint8_t>(rounded[lane]);
    }
  }
};

}  // namespace heddle::ops::cpu
