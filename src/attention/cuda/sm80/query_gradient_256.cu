// dQ of the deterministic backward for head dimensions up to 256.
#include "heddle/attention/cuda/sm80/query_gradient.cuh"

namespace heddle::attention::cuda::sm80 {

int query_gradient_256(const BackwardLaunch& launch) { return query_gradient<256>(launch); }

}  // namespace heddle::attention::cuda::sm80
