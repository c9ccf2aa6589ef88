// Backward for head dimensions up to 256, in 163 KB of shared memory.
#include "heddle/attention/cuda/sm80/backward_kernel.cuh"

namespace heddle::attention::cuda::sm80 {

int backward_256_163(const BackwardLaunch& launch) {
  return backward<256, SharedMemory::kb163>(launch);
}

}  // namespace heddle::attention::cuda::sm80
