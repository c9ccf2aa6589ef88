// Backward for head dimensions up to 128, in 99 KB of shared memory.
#include "heddle/attention/cuda/sm80/backward_kernel.cuh"

namespace heddle::attention::cuda::sm80 {

int backward_128_99(const BackwardLaunch& launch) {
  return backward<128, SharedMemory::kb99>(launch);
}

}  // namespace heddle::attention::cuda::sm80
