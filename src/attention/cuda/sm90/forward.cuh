// Forward attention on Hopper: out = softmax(mask(c·Q·Kᵀ))·V and the log-sum-exp of each row.
//
// A persistent block owns one tile of query rows at a time. Warpgroup 0 produces: it copies tiles
// and writes mask bits. The other warpgroups consume, 64 rows each, with no order among them: while
// one is at its exponentials another has the matrix unit. Within each, the scores of one key tile
// are computed together with the values of the tile before, and those run on behind the
// exponentials.
//
// FlashAttention-3, arXiv 2407.08608.
#pragma once

#include "heddle/attention/cuda/sm90/forward_consume.cuh"
#include "heddle/attention/cuda/sm90/forward_produce.cuh"

namespace heddle::attention::cuda::sm90 {

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    forward_kernel(const __grid_constant__ ForwardParams p) {
  // Where the swizzle needs it, at a multiple of 1024; through no integer, or all accesses become
  // generic ones.
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<ForwardShared<Shape>*>(raw);
  if (threadIdx.x == 0) {
    if (shared_address(raw) % 1024 != 0) __trap();
    prefetch(p.q);
    prefetch(p.k);
    prefetch(p.v);
    prefetch(p.out);
    init_barriers(shared);
  }
  __syncthreads();

  const int warpgroup = uniform(threadIdx.x / 128);
  if (warpgroup == 0) {
    give_registers<Shape::kProducerRegisters>();
    const int warp = uniform(threadIdx.x / 32);
    if (warp == 0) {
      produce<Shape>(p, shared);
    } else if (warp <= Shape::kConsumers) {
      produce_masks<Shape>(p, shared, warp - 1);
    }
  } else {
    take_registers<Shape::kConsumerRegisters>();
    consume<Shape>(p, shared, warpgroup - 1);
  }
}

}  // namespace heddle::attention::cuda::sm90
