// What the kernels for short documents are told, beside what all attention kernels are.
#pragma once

#include "heddle/attention/cuda/launch.h"

namespace heddle::attention::cuda::shorts {

using heddle::cuda::KeySpans;

inline constexpr int kRows = KeySpans::kRows;  // that a warp owns, and of a block
inline constexpr int kMostHeadDim = 64;

struct Forward {
  ForwardLaunch launch;
  KeySpans spans;
  int multiprocessors;
};

struct Backward {
  BackwardLaunch launch;
  KeySpans spans;
  int multiprocessors;
};

/// Each queues its kernels on the problem's stream and returns a cudaError_t.
int forward(const Forward& p);
int backward(const Backward& p);  // writes delta, too

}  // namespace heddle::attention::cuda::shorts
