// dQ of the deterministic backward for head dimensions up to 256, in 163 KB of shared memory.
#include "heddle/attention/cuda/sm80/query_gradient.cuh"

namespace heddle::attention::cuda::sm80 {

int query_gradient_256_163(const BackwardLaunch& launch) {
  return query_gradient<256, SharedMemory::kb163>(launch);
}

}  // namespace heddle::attention::cuda::sm80
