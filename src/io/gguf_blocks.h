// The element types of GGUF's tensors, and how their blocks become floats.
//
// A row is cut into blocks of equal size. d, m: f16; q: packed integers; value i of a block is
//
//   type  values bytes  layout                                        value
//   Q8_0      32    34  d, q[32] of 8 bits                            d · q
//   Q5_0      32    22  d, high[4], low[16]                           d · (q − 16)
//   Q4_K     256   144  d, m, scales[12], low[128]                    d · s · q − m · t
//   Q5_K     256   176  d, m, scales[12], high[32], low[128]          d · s · q − m · t
//   Q6_K     256   210  low[128], high[64], s[16] of 8 bits, d        d · s · (q − 32)
//
// low holds the lower 4 bits of q, high the upper ones; s and t are integers of 6 bits, one pair
// for 32 values (Q6_K: s for 16). F32, F16 and BF16 are blocks of one value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace heddle::io {

struct GgmlType {
  uint32_t id = 0;
  std::string_view name;
  uint32_t block_values = 0;
  uint32_t block_bytes = 0;
  /// Values of `block` as floats; nullptr where no arithmetic has the type.
  void (*to_floats)(const std::byte* block, float* values) = nullptr;
  /// Offsets of the f16 numbers that scale a block; -1: none.
  std::array<int32_t, 2> scales = {-1, -1};
};

/// The type of this id, or nullptr for ids that the format has removed or not assigned.
const GgmlType* ggml_type(uint32_t id);

/// The types that can be read, for errors: "F32, F16, …".
std::string_view readable_ggml_types();

/// Whole blocks to floats. A quantised block whose scale is NaN or infinite ends it: its index is
/// the result.
std::optional<uint64_t> blocks_to_floats(const GgmlType& type, std::span<const std::byte> blocks,
                                         float* values);

}  // namespace heddle::io
