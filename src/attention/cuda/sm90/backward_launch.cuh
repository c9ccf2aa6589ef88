// Launching the backward kernels of one head dimension.
#pragma once

#include "heddle/attention/cuda/sm90/backward_consume.cuh"

namespace heddle::attention::cuda::sm90 {

template <typename Shape>
cudaError_t launch_backward(const BackwardParams& params, int multiprocessors) {
  constexpr int kBytes = sizeof(BackwardShared<Shape>);
  static_assert(kBytes <= 227 * 1024);
  const TileBits& bits = params.launch.by_key;
  if (bits.rows != Shape::kRows || bits.keys != Shape::kKeys) return cudaErrorInvalidValue;
  const auto kernel = backward_kernel<Shape>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  const Problem& problem = params.launch.problem;
  const int64_t items = int64_t{problem.batches} * problem.kv_heads * bits.tiles;
  const int blocks = static_cast<int>(items < multiprocessors ? items : multiprocessors);
  kernel<<<blocks, Shape::kThreads, kBytes, problem.stream>>>(params);
  return cudaGetLastError();
}

/// Prepares, runs the kernel with the dtype and the options that the problem asks for, converts.
template <int kHeadDim>
cudaError_t launch_backward(const BackwardParams& params, int multiprocessors) {
  const Problem& problem = params.launch.problem;
  const bool options = problem.softcap > 0 || problem.alibi_slopes != nullptr;
  const bool ordered = params.scratch.turns != nullptr;
  const auto run = [&]<typename Element, bool kOptions>(Element) {
    if constexpr (kHeadDim == 256) {
      if (ordered) return cudaErrorNotSupported;
      return launch_backward<BackwardShape<Element, kHeadDim, kOptions, false>>(params,
                                                                                multiprocessors);
    } else {
      return ordered ? launch_backward<BackwardShape<Element, kHeadDim, kOptions, true>>(
                           params, multiprocessors)
                     : launch_backward<BackwardShape<Element, kHeadDim, kOptions, false>>(
                           params, multiprocessors);
    }
  };
  const auto of_type = [&]<typename Element>(Element element) {
    return options ? run.template operator()<Element, true>(element)
                   : run.template operator()<Element, false>(element);
  };
  cudaError_t error = backward_prepare(params);
  if (error == cudaSuccess) error = problem.bf16 ? of_type(__nv_bfloat16{}) : of_type(__half{});
  return error == cudaSuccess ? backward_convert(params) : error;
}

}  // namespace heddle::attention::cuda::sm90
