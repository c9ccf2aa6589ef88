// Forward for head dimensions up to 256.
#include "heddle/attention/cuda/sm80/forward.cuh"

namespace heddle::attention::cuda::sm80 {

int forward_256(const ForwardLaunch& launch) { return forward<256>(launch); }

}  // namespace heddle::attention::cuda::sm80
