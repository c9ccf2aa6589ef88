// Matrices as int8 would hold them (ops/int8_rows.h), for models that are trained to be int8. A
// warp finds the step of a row and rounds the row to its levels.
#include "heddle/ops/cuda/common.cuh"

namespace heddle::ops::cuda {

namespace {

constexpr float kMostLevel = 127;
constexpr int kRowsOfBlock = kThreads / 32;

__global__ void __launch_bounds__(kThreads) round_rows_kernel(const __grid_constant__ RoundRows p) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * kRowsOfBlock + static_cast<int>(threadIdx.x) / 32;
  if (row >= p.rows) return;
  const float* from = p.from + row * p.columns;
  BFloat16* to = p.to + row * p.columns;
  float largest = 0;
  for (int64_t i = lane; i < p.columns; i += 32) largest = fmaxf(largest, fabsf(from[i]));
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, step));
  }
  const float step = largest > 0 ? largest / kMostLevel : 1.0f;
  for (int64_t i = lane; i < p.columns; i += 32) {
    const float level = fminf(fmaxf(rintf(from[i] / step), -kMostLevel), kMostLevel);
    to[i].bits = bits_of(level * step * p.factor);
  }
}

}  // namespace

int launch_round_rows(const RoundRows& p, Stream stream) {
  if (p.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((p.rows + kRowsOfBlock - 1) / kRowsOfBlock);
  round_rows_kernel<<<blocks, kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
