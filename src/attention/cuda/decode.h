// attention/decode.h on a GPU: what the kernel is told. Queries, keys, values and results are all
// of one of the halves, passed as BFloat16; scores and softmax are f32. Heads are multiples of 8
// wide, up to 256; rows and tokens begin at multiples of 16 bytes.
#pragma once

#include <cstdint>

#include "heddle/base/half.h"

struct CUstream_st;

namespace heddle::attention::cuda {

struct RowDecodeLaunch {
  Half half;
  int64_t rows;
  const BFloat16* q;  // [R, H, E], rows q_stride elements apart
  int64_t q_stride;
  const BFloat16 *keys, *values;  // pools: token t's head g at t · token_stride + g · E
  int64_t token_stride;           // elements
  const int32_t *begin, *length;  // [R]: row r sees [begin, begin + length); zeros for length 0
  int32_t heads, kv_heads, head_dim;
  float scale;
  BFloat16* out;  // [R, H, E], rows out_stride elements apart
  int64_t out_stride;

  /// Null, or f32 [R, weight_heads, weights_stride]: where the softmax of the heads from first_head
  /// on is left; at least the longest row wide.
  float* weights;
  int32_t first_head, weight_heads;
  int64_t weights_stride;

  CUstream_st* stream;
};

/// Queues the kernel; returns a cudaError_t.
int launch_row_decode(const RowDecodeLaunch& launch);

}  // namespace heddle::attention::cuda
