// The Hopper forward kernels as the host sees them.
#pragma once

#include <cuda_runtime_api.h>

#include "heddle/attention/cuda/sm90/params.h"

namespace heddle::attention::cuda::sm90 {

/// Makes the tensor maps of a launch, whose plan must be of tile(90, E, forward).
ForwardParams forward_params(const ForwardLaunch& launch, WorkQueue* queue);

/// Each launches as many blocks as the GPU has multiprocessors, or fewer where there is less work.
cudaError_t forward_64(const ForwardParams& params, int multiprocessors);
cudaError_t forward_128(const ForwardParams& params, int multiprocessors);
cudaError_t forward_256(const ForwardParams& params, int multiprocessors);

}  // namespace heddle::attention::cuda::sm90
