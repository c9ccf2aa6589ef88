// Launching a forward kernel of one shape.
#pragma once

#include <cuda_runtime_api.h>

#include "heddle/attention/cuda/sm90/forward.cuh"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda::sm90 {

/// The plain kernel factors the scale out of the maximum, which needs a positive one.
inline bool needs_options(const Problem& p) {
  return p.softcap > 0 || p.alibi_slopes != nullptr || !(p.scale > 0);
}

template <typename Shape>
cudaError_t launch_forward(const ForwardParams& params, int multiprocessors) {
  constexpr int kBytes = sizeof(ForwardShared<Shape>);
  static_assert(kBytes <= 227 * 1024);
  const auto kernel = forward_kernel<Shape>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  const Problem& problem = params.launch.problem;
  const int64_t items = int64_t{problem.batches} * problem.heads * params.launch.by_query.tiles;
  const int blocks = static_cast<int>(items < multiprocessors ? items : multiprocessors);
  kernel<<<blocks, Shape::kThreads, kBytes, problem.stream>>>(params);
  return cudaGetLastError();
}

/// The kernel with the dtype and the options that the problem asks for.
template <int kHeadDim>
cudaError_t launch_forward(const ForwardParams& params, int multiprocessors) {
  constexpr Tile kTile = tile(90, kHeadDim, Direction::forward);
  constexpr int kConsumers = kTile.rows / 64, kKeys = kTile.keys;
  const Problem& problem = params.launch.problem;
  const auto of_type = [&]<typename Element>(Element) {
    return needs_options(problem)
               ? launch_forward<ForwardShape<Element, kHeadDim, kConsumers, kKeys, true>>(
                     params, multiprocessors)
               : launch_forward<ForwardShape<Element, kHeadDim, kConsumers, kKeys, false>>(
                     params, multiprocessors);
  };
  return problem.bf16 ? of_type(__nv_bfloat16{}) : of_type(__half{});
}

}  // namespace heddle::attention::cuda::sm90
