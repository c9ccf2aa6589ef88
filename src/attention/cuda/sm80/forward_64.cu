// Forward for head dimensions up to 64.
#include "heddle/attention/cuda/sm80/forward.cuh"

namespace heddle::attention::cuda::sm80 {

int forward_64(const ForwardLaunch& launch) { return forward<64>(launch); }

}  // namespace heddle::attention::cuda::sm80
