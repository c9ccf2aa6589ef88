#include "heddle/io/gguf_blocks.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "heddle/base/half.h"

namespace heddle::io {

namespace {

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

float load_half(const std::byte* at) {
  Float16 half;
  half.bits = load<uint16_t>(at);
  return static_cast<float>(half);
}

uint32_t byte_of(std::byte byte) { return std::to_integer<uint32_t>(byte); }

void f32_to_floats(const std::byte* block, float* values) { *values = load<float>(block); }

void f16_to_floats(const std::byte* block, float* values) { *values = load_half(block); }

void bf16_to_floats(const std::byte* block, float* values) {
  BFloat16 half;
  half.bits = load<uint16_t>(block);
  *values = static_cast<float>(half);
}

void q8_0_to_floats(const std::byte* block, float* values) {
  const float scale = load_half(block);
  for (size_t i = 0; i < 32; ++i) {
    values[i] = scale * static_cast<float>(load<int8_t>(block + 2 + i));
  }
}

void q5_0_to_floats(const std::byte* block, float* values) {
  const float scale = load_half(block);
  const auto high = load<uint32_t>(block + 2);
  for (size_t i = 0; i < 16; ++i) {
    const uint32_t low = byte_of(block[6 + i]);
    const uint32_t first = (low & 15) | (high >> i & 1) << 4;
    const uint32_t second = low >> 4 | (high >> (i + 16) & 1) << 4;
    values[i] = scale * static_cast<float>(static_cast<int32_t>(first) - 16);
    values[i + 16] = scale * static_cast<float>(static_cast<int32_t>(second) - 16);
  }
}

/// Scale and minimum of a group of 32 values.
struct Group {
  float scale;
  float minimum;
};

/// Of Q4_K and Q5_K. Six-bit integers in 12 bytes: groups 0 … 3 have the lower six bits of bytes
/// 0 … 3 (scale) and 4 … 7 (minimum); groups 4 … 7 the nibbles of bytes 8 … 11 under those bytes'
/// upper two bits.
Group group_of(const std::byte* block, size_t group) {
  const std::byte* packed = block + 4;
  uint32_t scale, minimum;
  if (group < 4) {
    scale = byte_of(packed[group]) & 63;
    minimum = byte_of(packed[group + 4]) & 63;
  } else {
    const uint32_t nibbles = byte_of(packed[group + 4]);
    scale = (nibbles & 15) | byte_of(packed[group - 4]) >> 6 << 4;
    minimum = nibbles >> 4 | byte_of(packed[group]) >> 6 << 4;
  }
  return {load_half(block) * static_cast<float>(scale),
          load_half(block + 2) * static_cast<float>(minimum)};
}

/// Groups 2k and 2k + 1 are the lower and the upper nibbles of the same 32 bytes.
void q4_k_to_floats(const std::byte* block, float* values) {
  for (size_t group = 0; group < 8; ++group, values += 32) {
    const auto [scale, minimum] = group_of(block, group);
    const std::byte* low = block + 16 + group / 2 * 32;
    for (size_t i = 0; i < 32; ++i) {
      const uint32_t q = byte_of(low[i]) >> (group % 2 * 4) & 15;
      values[i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

/// As Q4_K; bit g of byte i of `high` is the fifth bit of value i of group g.
void q5_k_to_floats(const std::byte* block, float* values) {
  const std::byte* high = block + 16;
  for (size_t group = 0; group < 8; ++group, values += 32) {
    const auto [scale, minimum] = group_of(block, group);
    const std::byte* low = block + 48 + group / 2 * 32;
    for (size_t i = 0; i < 32; ++i) {
      const uint32_t nibble = byte_of(low[i]) >> (group % 2 * 4) & 15;
      const uint32_t q = nibble | (byte_of(high[i]) >> group & 1) << 4;
      values[i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

/// Each half of 128 values is 4 groups of 32: groups 0 and 1 in the lower nibbles of 64 bytes, 2
/// and 3 in the upper ones; two bits of byte i of `high` belong to each group.
void q6_k_to_floats(const std::byte* block, float* values) {
  const float block_scale = load_half(block + 208);
  for (size_t group = 0; group < 8; ++group, values += 32) {
    const size_t half = group / 4, part = group % 4;
    const std::byte* low = block + half * 64 + part % 2 * 32;
    const std::byte* high = block + 128 + half * 32;
    const std::byte* scales = block + 192 + group * 2;
    for (size_t i = 0; i < 32; ++i) {
      const uint32_t nibble = byte_of(low[i]) >> (part / 2 * 4) & 15;
      const uint32_t q = nibble | (byte_of(high[i]) >> (part * 2) & 3) << 4;
      const float scale = block_scale * static_cast<float>(load<int8_t>(scales + i / 16));
      values[i] = scale * static_cast<float>(static_cast<int32_t>(q) - 32);
    }
  }
}

// Ids 4, 5, 31 … 33 and 36 … 38 were once in use and are gone.
constexpr std::array<GgmlType, 34> kTypes{{
    {0, "F32", 1, 4, f32_to_floats},
    {1, "F16", 1, 2, f16_to_floats},
    {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22, q5_0_to_floats, {0, -1}},
    {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34, q8_0_to_floats, {0, -1}},
    {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144, q4_k_to_floats, {0, 2}},
    {13, "Q5_K", 256, 176, q5_k_to_floats, {0, 2}},
    {14, "Q6_K", 256, 210, q6_k_to_floats, {208, -1}},
    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},
    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},
    {25, "I16", 1, 2},
    {26, "I32", 1, 4},
    {27, "I64", 1, 8},
    {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2, bf16_to_floats},
    {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},
    {41, "Q1_0", 128, 18},
}};

bool has_finite_scales(const GgmlType& type, const std::byte* block) {
  constexpr uint16_t kExponent = 0x7c00;
  return std::all_of(type.scales.begin(), type.scales.end(), [&](int32_t at) {
    return at < 0 || (load<uint16_t>(block + at) & kExponent) != kExponent;
  });
}

}  // namespace

const GgmlType* ggml_type(uint32_t id) {
  for (const GgmlType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

std::string_view readable_ggml_types() { return "F32, F16, BF16, Q8_0, Q5_0, Q4_K, Q5_K or Q6_K"; }

std::optional<uint64_t> blocks_to_floats(const GgmlType& type, std::span<const std::byte> blocks,
                                         float* values) {
  const uint64_t count = blocks.size() / type.block_bytes;
  const std::byte* block = blocks.data();
  if (type.to_floats == f32_to_floats) {
    if (count > 0) std::memcpy(values, block, blocks.size());
    return std::nullopt;
  }
  for (uint64_t i = 0; i < count; ++i, block += type.block_bytes, values += type.block_values) {
    if (!has_finite_scales(type, block)) return i;
    type.to_floats(block, values);
  }
  return std::nullopt;
}

}  // namespace heddle::io
