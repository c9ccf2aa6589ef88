// Backward for head dimensions up to 128.
#include "heddle/attention/cuda/sm80/backward_kernel.cuh"

namespace heddle::attention::cuda::sm80 {

int backward_128(const BackwardLaunch& launch) { return backward<128>(launch); }

}  // namespace heddle::attention::cuda::sm80
