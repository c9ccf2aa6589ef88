// Gradients of attention in double precision on the GPU, one warp a row or a key: slow and plain.
#pragma once

#include "lab.h"

namespace lab {

struct GradientReference {
  attention::BackwardLaunch launch;  // q, k, v, d_out and the problem; writes lse
  attention::Rows out;               // written, rounded to 16 bits
  double* lse;                       // [B, H, Tq]
  double* delta;                     // [B, H, Tq]
  double *d_q, *d_k, *d_v;           // dense [B, T, heads, E]
};

/// Queues the forward, whose rounded results the launch then holds, and the gradients.
void compute_reference(const GradientReference& reference);

struct Difference {
  double square = 0, reference_square = 0, greatest = 0;
  unsigned long long bad = 0;  // NaN, or a row past the end that is not as it was: all bits set
};

/// `found` against the dense `expected`.
Difference compare(attention::Rows found, const double* expected, int batches, int64_t tokens,
                   int64_t padded, int heads, int head_dim, bool bf16);

}  // namespace lab
