// Attention of one query a row over a range of keys of its own: the decoding step of many
// sentences.
//
//   out[r, h] = Σ_j softmax_j(scale · q[r, h]·k[j, h / (H / K)]) · v[j, h / (H / K)]
//
// with j over the row's view [begin, begin + length) of a pool of keys and values. Rows may share
// ranges (beams share their source). A row of length 0 gets zeros.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "heddle/base/dtype.h"

namespace heddle::attention {

struct RowDecode {
  const float* q;  ///< [R, H, E], rows q_stride floats apart
  int64_t q_stride;
  const void* keys;                 ///< pool: token t's key head g at (t · token_stride + g · E)
  const void* values;               ///< the same for values
  int64_t token_stride;             ///< elements between tokens, K · E where K and V lie apart
  DType dtype = DType::f32;         ///< of the pool: f32 or bf16
  std::span<const int32_t> begin;   ///< [R]
  std::span<const int32_t> length;  ///< [R]
  int heads, kv_heads, head_dim;    ///< head_dim up to 256
  float scale;                      ///< 1 / sqrt(E), as a rule
  float* out;                       ///< [R, H, E], rows out_stride floats apart
  int64_t out_stride;
  /// Null, or [R, H, longest]: where the softmax weights are left, rows weights_stride floats and
  /// heads weights_head_stride floats apart.
  float* weights = nullptr;
  int64_t weights_stride = 0, weights_head_stride = 0;
};

/// The same bits for a row whatever the other rows are. `instructions` forces "portable", "avx2" or
/// "avx512".
void decode(const RowDecode& rows, std::string_view instructions = {});

}  // namespace heddle::attention
