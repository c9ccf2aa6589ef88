// What DoRA (arXiv 2402.09353) does to the columns of a projection: gains, their use, the way back.
//   gain = m / ‖W + change‖ of each row of W
//   y += (gain − 1) ∘ plain + gain ∘ moved
#include "heddle/ops/cuda/common.cuh"
#include "heddle/ops/cuda/decompose.h"

namespace heddle::ops::cuda {

namespace {

/// A block works on a row of W.
__global__ void __launch_bounds__(kThreads) gains_kernel(const __grid_constant__ Gains p) {
  __shared__ float shared[kThreads / 32];
  const int64_t row = blockIdx.x;
  const RowsView weight{const_cast<BFloat16*>(p.weight), p.extent.width};
  const auto vectors = static_cast<int>(p.extent.width / kVector);
  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kThreads) {
    const Eight w = unpack(vector_at(weight, {row, i}));
    const Eight change = load8(p.change + row * p.extent.width + int64_t{i} * kVector);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const float sum = w.at[j] + change.at[j];
      squares += sum * sum;
    }
  }
  squares = sum_over_block(squares, shared);
  if (threadIdx.x > 0) return;
  const float inverse = 1.0f / sqrtf(squares);
  p.inverse_length[row] = inverse;
  p.gain[row] = p.magnitude[row] * inverse;
}

__global__ void __launch_bounds__(kThreads) decompose_kernel(const __grid_constant__ Decompose p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  Eight y = unpack(vector_at(p.y, at));
  const Eight plain = unpack(vector_at(p.plain, at)), moved = unpack(vector_at(p.moved, at));
  const Eight gain = load8(p.gain + at.vector * kVector);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    y.at[i] += (gain.at[i] - 1.0f) * plain.at[i] + gain.at[i] * moved.at[i];
  }
  vector_at(p.y, at) = pack(y);
}

__global__ void __launch_bounds__(kThreads)
    decompose_backward_kernel(const __grid_constant__ DecomposeBackward p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  const Eight d_y = unpack(vector_at(p.d_y, at));
  const Eight plain = unpack(vector_at(p.plain, at)), moved = unpack(vector_at(p.moved, at));
  const Eight gain = load8(p.gain + at.vector * kVector);
  const Eight inverse = load8(p.inverse_length + at.vector * kVector);
  Eight d_plain, d_moved, slope;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    d_plain.at[i] = (gain.at[i] - 1.0f) * d_y.at[i];
    d_moved.at[i] = gain.at[i] * d_y.at[i];
    slope.at[i] = d_y.at[i] * (plain.at[i] + moved.at[i]) * inverse.at[i];
  }
  vector_at(p.d_plain, at) = pack(d_plain);
  vector_at(p.d_moved, at) = pack(d_moved);
  vector_at(p.slopes, at) = pack(slope);
}

}  // namespace

int launch_gains(const Gains& gains, Stream stream) {
  if (gains.extent.rows == 0) return cudaSuccess;
  gains_kernel<<<static_cast<unsigned>(gains.extent.rows), kThreads, 0, stream>>>(gains);
  return cudaGetLastError();
}

int launch_decompose(const Decompose& decompose, Stream stream) {
  if (decompose.extent.rows == 0) return cudaSuccess;
  const Grid grid = grid_over(decompose.extent.rows, decompose.extent.width / kVector);
  decompose_kernel<<<grid.blocks, grid.threads, 0, stream>>>(decompose);
  return cudaGetLastError();
}

int launch_decompose_backward(const DecomposeBackward& decompose, Stream stream) {
  if (decompose.extent.rows == 0) return cudaSuccess;
  const Grid grid = grid_over(decompose.extent.rows, decompose.extent.width / kVector);
  decompose_backward_kernel<<<grid.blocks, grid.threads, 0, stream>>>(decompose);
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
