// What the attention kernels are told: plain structs, the only header that host and GPU code share.
//
// Tensors are [batches, T, heads, E] with any strides and a dense last axis; rows start at
// multiples of 16 bytes and E is a multiple of 8. A packed batch of many sequences is batches = 1
// and a mask; batches > 1 are sequences of one length, each with its own mask or all with the same.
#pragma once

#include <cstdint>

#include "heddle/mask/cuda/launch.h"

namespace heddle::attention::cuda {

using heddle::cuda::DeviceColumns;
using heddle::cuda::TileBits;

/// [batches, T, heads, E]; strides in elements.
struct Rows {
  void* data;
  int64_t batch_stride, row_stride, head_stride;
};

/// f32 [batches, heads, Tq]; strides in elements.
struct RowValues {
  float* data;
  int64_t batch_stride, head_stride;
};

/// What forward and backward have in common.
struct Problem {
  DeviceColumns mask;
  int32_t batches, heads, kv_heads, head_dim;
  bool bf16;  // else fp16
  float scale;
  float softcap;              // 0: off
  const float* sinks;         // [heads] or null
  const float* alibi_slopes;  // [heads] or null
  int32_t section;            // sequences × key/value heads that share the L2 cache at a time
  CUstream_st* stream;
};

struct ForwardLaunch {
  Problem problem;
  Rows q, k, v, out;
  RowValues lse;
  TileBits by_query;
};

struct BackwardLaunch {
  Problem problem;
  Rows q, k, v, out, d_out, d_q, d_k, d_v;
  RowValues lse;
  RowValues delta;      // scratch: Σ_e out·d_out
  float* d_q_sum;       // scratch: f32 [batches, heads, query_tiles, tile]; null when deterministic
  int32_t query_tiles;  // of the backward's shape
  float* d_sinks;       // [heads] or null
  TileBits by_key;
  TileBits by_query;  // used when deterministic: dQ by a second kernel, not by atomic additions
};

/// Each launcher queues its kernels on the problem's stream and returns a cudaError_t.
/// Δ; and zeros d_q_sum, whose tiles are as wide as the padded head dimension.
int launch_delta(const BackwardLaunch& launch);
int launch_d_sinks(const BackwardLaunch& launch);

namespace sm80 {

int forward_64(const ForwardLaunch& launch);
int forward_128(const ForwardLaunch& launch);
int forward_256(const ForwardLaunch& launch);

// For the head dimension and the KB of shared memory in the name; 227 where there is none.
int backward_64(const BackwardLaunch& launch);
int backward_128(const BackwardLaunch& launch);
int backward_128_99(const BackwardLaunch& launch);
int backward_256(const BackwardLaunch& launch);
int backward_256_163(const BackwardLaunch& launch);
int backward_256_99(const BackwardLaunch& launch);
int query_gradient_64(const BackwardLaunch& launch);
int query_gradient_128(const BackwardLaunch& launch);
int query_gradient_128_99(const BackwardLaunch& launch);
int query_gradient_256(const BackwardLaunch& launch);
int query_gradient_256_163(const BackwardLaunch& launch);
int query_gradient_256_99(const BackwardLaunch& launch);

}  // namespace sm80

}  // namespace heddle::attention::cuda
