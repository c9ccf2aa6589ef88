// dQ of the deterministic backward for head dimensions up to 256, in 99 KB of shared memory.
#include "heddle/attention/cuda/sm80/query_gradient.cuh"

namespace heddle::attention::cuda::sm80 {

int query_gradient_256_99(const BackwardLaunch& launch) {
  return query_gradient<256, SharedMemory::kb99>(launch);
}

}  // namespace heddle::attention::cuda::sm80
