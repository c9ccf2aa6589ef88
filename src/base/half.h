// The two 16-bit float formats as plain bit holders, converted on the host with round to nearest
// even. Device code uses CUDA's own types; the bits are the same.
#pragma once

#include <bit>
#include <cstdint>

namespace heddle {

/// Which of the two 16 bits are.
enum class Half : uint8_t { bf16, f16 };

/// bfloat16: the upper half of an IEEE float (8 exponent bits, 7 fraction bits).
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  explicit BFloat16(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
    const uint32_t rounding = 0x7fffu + ((word >> 16) & 1u);
    bits = static_cast<uint16_t>(is_nan ? (word >> 16) | 0x40u : (uint64_t{word} + rounding) >> 16);
  }
  explicit operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

/// IEEE binary16 (5 exponent bits, 10 fraction bits).
struct Float16 {
  uint16_t bits = 0;

  Float16() = default;
  explicit Float16(float value);
  explicit operator float() const;
};

}  // namespace heddle
