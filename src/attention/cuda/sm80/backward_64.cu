// Backward for head dimensions up to 64.
#include "heddle/attention/cuda/sm80/backward_kernel.cuh"

namespace heddle::attention::cuda::sm80 {

int backward_64(const BackwardLaunch& launch) { return backward<64>(launch); }

}  // namespace heddle::attention::cuda::sm80
