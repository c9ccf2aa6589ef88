// What the Hopper kernels are launched with: the common launch structs, tensor maps for the copy
// engine, and the queue that blocks take their work from.
#pragma once

#include <cuda.h>

#include "heddle/attention/cuda/launch.h"

namespace heddle::attention::cuda::sm90 {

/// Scratch of one launch: zeros before it, zeros after it.
struct WorkQueue {
  uint32_t claimed;   // work taken beyond the first of each block
  uint32_t finished;  // blocks that found no more
};

struct ForwardParams {
  CUtensorMap q;    // [B, H, Tq, E], box 64 tokens × 64 columns
  CUtensorMap k;    // [B, K, Tk, E], box of a key tile × 64 columns
  CUtensorMap v;    // the same
  CUtensorMap out;  // [B, H, Tq, E], box 64 × 64
  ForwardLaunch launch;
  WorkQueue* queue;  // null where no block needs more than one piece of work
};

}  // namespace heddle::attention::cuda::sm90
