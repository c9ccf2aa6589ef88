// Sums over rows: of bf16 columns, and of the partial sums that other kernels leave behind.
#include "heddle/ops/cuda/activation.cuh"

namespace heddle::ops::cuda {

namespace {

constexpr int kPartialRows = 32;  // threads that share the chunks of one column

__global__ void __launch_bounds__(32 * kPartialRows)
    add_partials_kernel(const __grid_constant__ Partials p) {
  __shared__ float shares[kPartialRows][32];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  const int64_t columns = p.stride;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int64_t chunk = threadIdx.y; chunk < p.chunks; chunk += kPartialRows) {
      sum += p.from[chunk * p.stride + column];
    }
  }
  shares[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= columns) return;
  float total = 0;
  for (int i = 0; i < kPartialRows; ++i) total += shares[i][threadIdx.x];
  float* to = p.to[column / p.width];
  if (to != nullptr) to[column % p.width] += p.factor * total;
}

constexpr int kColumnLanes = 32, kColumnRows = kThreads / kColumnLanes;
constexpr int64_t kColumns = kColumnLanes * kVector;  // of a block

/// How many chunks the rows of a column are cut into: blocks enough for the largest GPUs, each of
/// several rows a thread.
int64_t chunks_of(const Extent& extent) {
  const int64_t wanted = (extent.rows + 4 * kColumnRows - 1) / (4 * kColumnRows);
  const int64_t most = 1024 / ((extent.width + kColumns - 1) / kColumns);
  return wanted < most ? wanted : most > 1 ? most : 1;
}

/// What is summed: rows as they are, or what an activation's backward writes.
struct AsTheyAre {
  RowsView x;
  __device__ Eight at(const Place& place) const { return unpack(vector_at(x, place)); }
};
struct Activated {
  ActivateBackward activate;
  __device__ Eight at(const Place& place) const { return activate_back(activate, place); }
};

template <typename Summed>
__global__ void __launch_bounds__(kThreads)
    column_sums_kernel(const __grid_constant__ Summed summed, const __grid_constant__ ColumnSums p,
                       int64_t rows_per_chunk) {
  __shared__ float shares[kColumnRows][kVector][kColumnLanes];
  const int lane = static_cast<int>(threadIdx.x), share = static_cast<int>(threadIdx.y);
  const int vector = static_cast<int>(blockIdx.y) * kColumnLanes + lane;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * rows_per_chunk;
  const int64_t end = min(begin + rows_per_chunk, p.extent.rows);
  Eight sum{};
  if (vector < p.extent.width / kVector) {
#pragma unroll 4
    for (int64_t row = begin + share; row < end; row += kColumnRows) {
      const Eight x = summed.at({row, vector});
#pragma unroll
      for (int i = 0; i < kVector; ++i) sum.at[i] += x.at[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) shares[share][i][lane] = sum.at[i];
  __syncthreads();
  const int column = share * kColumnLanes + lane;  // kThreads == kColumns: one each
  const int64_t at = static_cast<int64_t>(blockIdx.y) * kColumns + column;
  if (at >= p.extent.width) return;
  float total = 0;
  for (int i = 0; i < kColumnRows; ++i) total += shares[i][column % kVector][column / kVector];
  p.scratch[static_cast<int64_t>(blockIdx.x) * p.extent.width + at] = total;
}

template <typename Summed>
int launch_sums(const Summed& summed, const ColumnSums& sums, Stream stream) {
  if (sums.extent.rows == 0) return cudaSuccess;
  const int64_t chunks = chunks_of(sums.extent), width = sums.extent.width;
  const dim3 grid(static_cast<unsigned>(chunks), blocks_for(width, kColumns));
  column_sums_kernel<<<grid, dim3(kColumnLanes, kColumnRows), 0, stream>>>(
      summed, sums, (sums.extent.rows + chunks - 1) / chunks);
  return launch_add_partials({.from = sums.scratch,
                              .chunks = chunks,
                              .stride = width,
                              .width = width,
                              .factor = sums.factor,
                              .to = {sums.sums}},
                             stream);
}

}  // namespace

int launch_add_partials(const Partials& partials, Stream stream) {
  add_partials_kernel<<<blocks_for(partials.stride, 32), dim3(32, kPartialRows), 0, stream>>>(
      partials);
  return cudaGetLastError();
}

int64_t column_sums_scratch(const Extent& extent) { return chunks_of(extent) * extent.width; }

int launch_column_sums(const ColumnSums& sums, Stream stream) {
  return launch_sums(AsTheyAre{sums.x}, sums, stream);
}

int launch_activate_backward(const ActivateBackward& activate, const ColumnSums& of_d_x,
                             Stream stream) {
  return launch_sums(Activated{activate}, of_d_x, stream);
}

}  // namespace heddle::ops::cuda
