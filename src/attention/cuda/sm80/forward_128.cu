// Forward for head dimensions up to 128.
#include "heddle/attention/cuda/sm80/forward.cuh"

namespace heddle::attention::cuda::sm80 {

int forward_128(const ForwardLaunch& launch) { return forward<128>(launch); }

}  // namespace heddle::attention::cuda::sm80
