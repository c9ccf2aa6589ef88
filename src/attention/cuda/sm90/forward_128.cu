#include "heddle/attention/cuda/sm90/forward.h"
#include "heddle/attention/cuda/sm90/forward_launch.cuh"

namespace heddle::attention::cuda::sm90 {

cudaError_t forward_128(const ForwardParams& params, int multiprocessors) {
  return launch_forward<128>(params, multiprocessors);
}

}  // namespace heddle::attention::cuda::sm90
