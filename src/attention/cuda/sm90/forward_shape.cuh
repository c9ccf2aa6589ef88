// What a forward kernel is compiled for, and what its block keeps in shared memory.
//
// Shapes in shared memory: a tile of n tokens is [E / 64][n][64] under the 128-byte swizzle.
#pragma once

#include "heddle/attention/cuda/sm90/mask_bits.cuh"
#include "heddle/attention/cuda/sm90/params.h"
#include "heddle/attention/cuda/sm90/ptx.cuh"
#include "heddle/attention/cuda/sm90/work.cuh"

namespace heddle::attention::cuda::sm90 {

/// kOptions: soft-cap, ALiBi, and scales <= 0.
template <typename Element_, int kHeadDim_, int kConsumers_, int kKeys_, bool kOptions_>
struct ForwardShape {
  using Element = Element_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kBlocks = kHeadDim / 64;  // of 64 columns: one swizzled row
  static constexpr int kConsumers = kConsumers_;
  static constexpr int kRows = 64 * kConsumers;
  static constexpr int kKeys = kKeys_;
  static constexpr bool kOptions = kOptions_;
  static constexpr int kStages = 2;     // key and value tiles in flight
  static constexpr int kMaskSlots = 2;  // mask tiles in flight, a consumer
  static constexpr int kThreads = 128 * (kConsumers + 1);
  // With 256 columns there is no room for the output beside the queries: it takes their place.
  static constexpr bool kOutInQueries = kHeadDim == 256;
  // Queries as registers: 128 columns fit; 64 leave no room beside a third warpgroup's scores.
  static constexpr bool kQueriesInRegisters = kHeadDim == 128;
  // Registers a thread: the sum over the warpgroups must not pass what the launch gives them.
  static constexpr int kProducerRegisters = kConsumers == 3 ? 32 : 40;
  static constexpr int kConsumerRegisters = kConsumers == 3 ? 160 : 232;
};

template <typename Shape>
struct __align__(1024) ForwardShared {
  using Element = typename Shape::Element;
  Element q[Shape::kConsumers][64 * Shape::kHeadDim];
  Element k[Shape::kStages][Shape::kKeys * Shape::kHeadDim];
  Element v[Shape::kStages][Shape::kKeys * Shape::kHeadDim];
  Element out[Shape::kOutInQueries ? 1 : Shape::kConsumers]
             [Shape::kOutInQueries ? 8 : 64 * Shape::kHeadDim];
  MaskBits<Shape::kKeys> mask[Shape::kConsumers][Shape::kMaskSlots];
  LiveTile key_tile[Shape::kStages];
  Work work[2];
  TileWord work_words[2][32];  // what a walk begins with
  Barrier work_full[2], work_empty[2], q_full, q_empty;
  Barrier k_full[Shape::kStages], k_empty[Shape::kStages];
  Barrier v_full[Shape::kStages], v_empty[Shape::kStages];
  Barrier mask_full[Shape::kConsumers][Shape::kMaskSlots];
  Barrier mask_empty[Shape::kConsumers][Shape::kMaskSlots];

  /// Where a consumer's 64 rows of output wait to be copied out.
  __device__ __forceinline__ Element* staged(int consumer) {
    if constexpr (Shape::kOutInQueries) {
      return q[consumer];
    } else {
      return out[consumer];
    }
  }
};

/// Named barriers: 0 is __syncthreads, then one a consumer.
inline constexpr int kFirstGroup = 1;

template <typename Shape>
__device__ __forceinline__ void init_barriers(ForwardShared<Shape>& shared) {
  // A reader that is done arrives once a warp; a warp that wrote together, each lane for itself.
  constexpr int kWarps = 4 * Shape::kConsumers;
  for (int i = 0; i < 2; ++i) {
    init(shared.work_full[i], 32);
    init(shared.work_empty[i], kWarps + Shape::kConsumers);
  }
  init(shared.q_full, 1);
  init(shared.q_empty, kWarps);
  for (int i = 0; i < Shape::kStages; ++i) {
    init(shared.k_full[i], 1);
    init(shared.k_empty[i], kWarps);
    init(shared.v_full[i], 1);
    init(shared.v_empty[i], kWarps);
  }
  for (int consumer = 0; consumer < Shape::kConsumers; ++consumer) {
    for (int i = 0; i < Shape::kMaskSlots; ++i) {
      init(shared.mask_full[consumer][i], 32);
      init(shared.mask_empty[consumer][i], 128);
    }
  }
  fence_barrier_init();
}

/// Arrives for the warp, after all its lanes have come here.
__device__ __forceinline__ void arrive_warp(Barrier& barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(barrier);
}

}  // namespace heddle::attention::cuda::sm90
