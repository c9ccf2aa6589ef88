#include "heddle/attention/cuda/sm90/backward.h"
#include "heddle/attention/cuda/sm90/backward_launch.cuh"

namespace heddle::attention::cuda::sm90 {

cudaError_t backward_256(const BackwardParams& params, int multiprocessors) {
  return launch_backward<256>(params, multiprocessors);
}

}  // namespace heddle::attention::cuda::sm90
