// A plain reference on the GPU, one block a row or key, in double: what the CPU's reference would
// need hours for. With `rounding` it becomes the honest baseline of the error rule: the same
// formula with every intermediate matrix rounded to 16 bits, as attention without fusion keeps
// them.
#pragma once

#include <cstdint>

#include "heddle/mask/rule.h"

namespace heddle::test {

/// All pointers on the GPU; q, k, v, d_out are dense [T, heads, E].
struct GpuReference {
  const void *q, *k, *v, *d_out;
  bool bf16;
  bool rounding;
  MaskView mask;  // its bounds on the GPU
  int32_t heads, kv_heads, head_dim;
  double scale, softcap;
  const float* sinks;
  const float* slopes;
  double *out, *lse, *delta;  // [Tq, H, E], [H, Tq], [H, Tq]
  double *d_q, *d_k, *d_v;    // [T, heads, E]
};

/// Fills out, lse, delta, d_q, then d_k and d_v. Returns a cudaError_t.
int run(const GpuReference& reference);

}  // namespace heddle::test
