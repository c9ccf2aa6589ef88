// Tensor maps: what the copy engine must know about a tensor in memory to cut tiles out of it.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace heddle::attention::cuda::sm90 {

/// A tensor [B, T, H, E] of 16-bit elements in any order of its axes but the last; strides in
/// elements, multiples of 8, as the address is of 16 bytes.
struct TensorLayout {
  const void* data;
  int64_t columns, tokens, heads, batches;
  int64_t token_stride, head_stride, batch_stride;
};

/// A map whose boxes are `box_tokens` tokens × 64 columns of one head, under the 128-byte swizzle.
/// Reads past any axis give zero, writes there do nothing. `half`: IEEE halves, else bfloat16.
CUtensorMap make_tensor_map(const TensorLayout& tensor, int box_tokens, bool half);

}  // namespace heddle::attention::cuda::sm90
