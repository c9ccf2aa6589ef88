// dQ of the deterministic backward for head dimensions up to 64.
#include "heddle/attention/cuda/sm80/query_gradient.cuh"

namespace heddle::attention::cuda::sm80 {

int query_gradient_64(const BackwardLaunch& launch) { return query_gradient<64>(launch); }

}  // namespace heddle::attention::cuda::sm80
