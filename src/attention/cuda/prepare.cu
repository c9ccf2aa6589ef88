// What the backward needs before its main kernel, dQ's sums at zero among it, and what it leaves to
// be summed:
//   Δ[i] = Σ_e out[i, e] · d_out[i, e]
//   d_sink[h] = −Σ_i exp(sink[h] − lse[i]) · Δ[i]
#include "heddle/attention/cuda/dot.cuh"
#include "heddle/attention/cuda/launch.h"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kThreadsPerRow = 8;  // 8 × 16 bytes: the shortest row in whole memory transactions

/// Rows of dQ's sums, those of whole tiles; no fewer than there are queries.
__host__ __device__ int sum_rows(const BackwardLaunch& p) {
  return p.d_q_sum != nullptr ? p.query_tiles * p.by_key.rows : p.problem.mask.query_length;
}

template <typename T2>
__global__ void delta_kernel(const __grid_constant__ BackwardLaunch p) {
  const int row = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) / kThreadsPerRow;
  const int lane = static_cast<int>(threadIdx.x) % kThreadsPerRow;
  const int head = static_cast<int>(blockIdx.y), batch = static_cast<int>(blockIdx.z);
  const bool valid = row < p.problem.mask.query_length;
  const auto source = [&](const Rows& rows) {
    return reinterpret_cast<const uint4*>(static_cast<const T2*>(rows.data) +
                                          (batch * rows.batch_stride + head * rows.head_stride +
                                           (valid ? row : 0) * rows.row_stride) /
                                              2);
  };
  const uint4 *out = source(p.out), *d_out = source(p.d_out);
  float sum = 0;
  for (int chunk = lane; chunk < p.problem.head_dim / 8; chunk += kThreadsPerRow) {
    sum += dot8<T2>(out[chunk], d_out[chunk]);
  }
#pragma unroll
  for (int step = 1; step < kThreadsPerRow; step *= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
  }
  if (p.d_q_sum != nullptr && row < sum_rows(p)) {
    const int quads = padded_head_dim(p.problem.head_dim) / 4;
    const int64_t sums = (static_cast<int64_t>(batch) * p.problem.heads + head) * sum_rows(p) + row;
    auto* to = reinterpret_cast<float4*>(p.d_q_sum) + sums * quads;
    for (int i = lane; i < quads; i += kThreadsPerRow) to[i] = {0, 0, 0, 0};
  }
  if (valid && lane == 0) {
    p.delta.data[batch * p.delta.batch_stride + head * p.delta.head_stride + row] = sum;
  }
}

/// One block a head; the order of the additions is fixed.
__global__ void d_sinks_kernel(const __grid_constant__ BackwardLaunch p) {
  __shared__ float shares[kThreads];
  const int head = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const float sink = p.problem.sinks[head];
  float sum = 0;
  for (int batch = 0; batch < p.problem.batches; ++batch) {
    const float* lse = p.lse.data + batch * p.lse.batch_stride + head * p.lse.head_stride;
    const float* delta = p.delta.data + batch * p.delta.batch_stride + head * p.delta.head_stride;
    for (int row = thread; row < p.problem.mask.query_length; row += kThreads) {
      const bool blind = lse[row] == -__builtin_huge_valf();
      sum -= blind ? 0 : expf(sink - lse[row]) * delta[row];
    }
  }
  shares[thread] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) shares[thread] += shares[thread + half];
  }
  if (thread == 0) p.d_sinks[head] = shares[0];
}

}  // namespace

int launch_delta(const BackwardLaunch& p) {
  constexpr int kRows = kThreads / kThreadsPerRow;
  const dim3 grid(static_cast<unsigned>((sum_rows(p) + kRows - 1) / kRows),
                  static_cast<unsigned>(p.problem.heads), static_cast<unsigned>(p.problem.batches));
  if (p.problem.bf16) {
    delta_kernel<__nv_bfloat162><<<grid, kThreads, 0, p.problem.stream>>>(p);
  } else {
    delta_kernel<__half2><<<grid, kThreads, 0, p.problem.stream>>>(p);
  }
  return cudaGetLastError();
}

int launch_d_sinks(const BackwardLaunch& p) {
  d_sinks_kernel<<<static_cast<unsigned>(p.problem.heads), kThreads, 0, p.problem.stream>>>(p);
  return cudaGetLastError();
}

}  // namespace heddle::attention::cuda
