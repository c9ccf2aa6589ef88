// Backward for head dimensions up to 256.
#include "heddle/attention/cuda/sm80/backward_kernel.cuh"

namespace heddle::attention::cuda::sm80 {

int backward_256(const BackwardLaunch& launch) { return backward<256>(launch); }

}  // namespace heddle::attention::cuda::sm80
