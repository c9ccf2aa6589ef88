// The Hopper backward kernels as the host sees them.
//
//   prepare:  Δ and lse of each row in the order that the main kernel copies them; dQ's sums to
//   zero main:     dK, dV, and dQ's sums, added tile by tile in f32 convert:  dQ's sums to 16 bits
#pragma once

#include <cuda_runtime_api.h>

#include "heddle/attention/cuda/sm90/params.h"

namespace heddle::attention::cuda::sm90 {

/// Rows and keys of the tiles that the plan must be made for.
inline constexpr int kBackwardKeys = 128;
constexpr int backward_rows(int head_dim) { return head_dim <= 64 ? 128 : 64; }

struct BackwardParams {
  CUtensorMap q, d_out;  // [B, H, Tq, E], box of a query tile × 64 columns
  CUtensorMap k, v;      // [B, K, Tk, E], box of a key tile × 64 columns
  CUtensorMap d_k, d_v;  // the same, box 64 × 64
  BackwardLaunch launch;
  Problem by_kv_head;  // the problem as if it had no more query heads than key/value heads
  float* row_terms;  // scratch, f32 [B, H, query tiles, 2, rows of a tile]: lse · log2(e), then Δ
  WorkQueue* queue;
};

/// Floats of scratch for dQ's sums and for the row terms; neither needs to be zero.
struct BackwardScratch {
  int64_t d_q_sum, row_terms;
};
BackwardScratch backward_scratch(const Problem& problem);

/// Makes the tensor maps of a launch; sets its query_tiles.
BackwardParams backward_params(const BackwardLaunch& launch, float* row_terms, WorkQueue* queue);

/// All three kernels. The main one gets as many blocks as the GPU has multiprocessors, or fewer
/// where there is less work.
cudaError_t backward_64(const BackwardParams& params, int multiprocessors);
cudaError_t backward_128(const BackwardParams& params, int multiprocessors);

/// The small kernels; the other two call them.
cudaError_t backward_prepare(const BackwardParams& params);
cudaError_t backward_convert(const BackwardParams& params);

}  // namespace heddle::attention::cuda::sm90
