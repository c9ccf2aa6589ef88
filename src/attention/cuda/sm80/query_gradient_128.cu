// dQ of the deterministic backward for head dimensions up to 128.
#include "heddle/attention/cuda/sm80/query_gradient.cuh"

namespace heddle::attention::cuda::sm80 {

int query_gradient_128(const BackwardLaunch& launch) { return query_gradient<128>(launch); }

}  // namespace heddle::attention::cuda::sm80
