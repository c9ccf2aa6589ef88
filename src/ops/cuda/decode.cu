// The memory of decoding: rows into pools, copies between slots, and a step of the SSRU's cells.
#include "heddle/ops/cuda/activation.cuh"
#include "heddle/ops/cuda/decode.h"

namespace heddle::ops::cuda {

namespace {

__global__ void __launch_bounds__(kThreads) store_rows_kernel(const __grid_constant__ StoreRows p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  const Place to{p.at[at.row], at.vector};
  vector_at({p.key_pool, p.extent.width}, to) = vector_at(p.keys, at);
  vector_at({p.value_pool, p.extent.width}, to) = vector_at(p.values, at);
}

template <Half kHalf>
__global__ void __launch_bounds__(kThreads) ssru_step_kernel(const __grid_constant__ SsruStep p) {
  const Place at = place_of_thread();
  const int64_t vectors = p.extent.width / kVector;
  if (!is_inside(at, p.extent.rows, vectors)) return;
  const Eight x = unpack<kHalf>(vector_at(p.gates, at));
  const Eight gate =
      unpack<kHalf>(vector_at(p.gates, {at.row, at.vector + static_cast<int>(vectors)}));
  float* cells = p.cells + p.at[at.row] * p.extent.width + at.vector * kVector;
  Eight cell = load8(cells), out;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const float f = sigmoid(gate.at[i]);
    cell.at[i] = f * cell.at[i] + (1.0f - f) * x.at[i];
    out.at[i] = 0.0f > cell.at[i] ? 0.0f : cell.at[i];
  }
  store8(cells, cell);
  vector_at(p.out, at) = pack<kHalf>(out);
}

/// A block a copy and pool.
__global__ void __launch_bounds__(kThreads)
    copy_in_pools_kernel(const __grid_constant__ PoolCopies p) {
  const int32_t copy = static_cast<int32_t>(blockIdx.x);
  auto* pool = reinterpret_cast<uint4*>(p.pool[blockIdx.y]);
  const int64_t vectors = p.width / kVector, count = p.count[copy] * vectors;
  const uint4* from = pool + p.from[copy] * vectors;
  uint4* to = pool + p.to[copy] * vectors;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) to[i] = from[i];
}

__global__ void __launch_bounds__(kThreads)
    copy_cells_kernel(const __grid_constant__ CellCopies p) {
  const int32_t copy = static_cast<int32_t>(blockIdx.x), from = p.from[copy];
  float* layer = p.cells + blockIdx.y * p.layer_stride;
  for (int64_t i = threadIdx.x; i < p.width; i += kThreads) {
    layer[p.to[copy] * p.width + i] = from < 0 ? 0.0f : layer[from * p.width + i];
  }
}

}  // namespace

int launch_store_rows(const StoreRows& store, Stream stream) {
  if (store.extent.rows == 0) return cudaSuccess;
  const Grid grid = grid_over(store.extent.rows, store.extent.width / kVector);
  store_rows_kernel<<<grid.blocks, grid.threads, 0, stream>>>(store);
  return cudaGetLastError();
}

int launch_ssru_step(const SsruStep& step, Stream stream) {
  if (step.extent.rows == 0) return cudaSuccess;
  const Grid grid = grid_over(step.extent.rows, step.extent.width / kVector);
  return with_half(step.out.half, [&]<Half kHalf>() -> int {
    ssru_step_kernel<kHalf><<<grid.blocks, grid.threads, 0, stream>>>(step);
    return cudaGetLastError();
  });
}

int launch_copy_in_pools(const PoolCopies& copies, Stream stream) {
  if (copies.copies == 0 || copies.pools == 0) return cudaSuccess;
  const dim3 blocks(static_cast<unsigned>(copies.copies), static_cast<unsigned>(copies.pools));
  copy_in_pools_kernel<<<blocks, kThreads, 0, stream>>>(copies);
  return cudaGetLastError();
}

int launch_copy_cells(const CellCopies& copies, Stream stream) {
  if (copies.copies == 0 || copies.layers == 0) return cudaSuccess;
  const dim3 blocks(static_cast<unsigned>(copies.copies), static_cast<unsigned>(copies.layers));
  copy_cells_kernel<<<blocks, kThreads, 0, stream>>>(copies);
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
