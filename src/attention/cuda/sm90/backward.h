// The Hopper backward kernels as the host sees them.
//
//   prepare: Δ and lse of each row in the order that the main kernel copies them; dQ's sums to
//   zero;
//            when deterministic, each key tile's turn at each query tile
//   main:    dK, dV, and dQ's sums, added tile by tile in f32
//   convert: dQ's sums to 16 bits
#pragma once

#include <cuda_runtime_api.h>

#include "heddle/attention/cuda/sm90/params.h"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda::sm90 {

/// The tiles that the plan by key must be made for.
constexpr Tile backward_tile(int head_dim) {
  return tile(90, padded_head_dim(head_dim), Direction::backward);
}

/// Memory on the GPU for one launch.
struct BackwardScratch {
  float* d_q_sum;    // [B, H, query tiles, parts of 64 × 64 in the order of the registers]
  float* row_terms;  // [B, H, query tiles, 2, rows of a tile]: lse · log2(e), then Δ
  WorkQueue* queue;
  // When deterministic, else null: key tiles add to a query tile's sums from the last to the first.
  const uint16_t* turns;  // [sets, key tiles, query tiles]: how many key tiles come before
  uint32_t* served;       // [B, H, query tiles, 2]: how many have added to each half
};

struct BackwardParams {
  CUtensorMap q, d_out;  // [B, H, Tq, E], box of a query tile × 64 columns
  CUtensorMap k, v;      // [B, K, Tk, E], box of a key tile × 64 columns
  CUtensorMap d_k, d_v;  // the same, box 64 × 64
  BackwardLaunch launch;
  Problem by_kv_head;  // the problem as if it had no more query heads than key/value heads
  int32_t group;       // query heads a key/value head
  BackwardScratch scratch;
};

/// What the scratch of a launch needs, in elements; the plan by key must be known. Only the queue
/// needs to be zero.
struct BackwardScratchSizes {
  int64_t d_q_sum, row_terms, served;
};
BackwardScratchSizes backward_scratch(const BackwardLaunch& launch);

/// How many pairs of a sequence and a key/value head are worked on at a time.
int32_t backward_section(const BackwardLaunch& launch, int blocks, bool deterministic);

/// Makes the tensor maps of a launch; sets its query_tiles.
BackwardParams backward_params(const BackwardLaunch& launch, const BackwardScratch& scratch);

/// All three kernels. The main one gets as many blocks as the GPU has multiprocessors, or fewer
/// where there is less work.
cudaError_t backward_64(const BackwardParams& params, int multiprocessors);
cudaError_t backward_128(const BackwardParams& params, int multiprocessors);
cudaError_t backward_256(const BackwardParams& params, int multiprocessors);  // not deterministic

/// The small kernels; the other two call them.
cudaError_t backward_prepare(const BackwardParams& params);
cudaError_t backward_convert(const BackwardParams& params);

}  // namespace heddle::attention::cuda::sm90
