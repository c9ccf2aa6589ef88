// Which keys a group of rows looks at, from which rows look at a key.
#include <cuda_runtime_api.h>

#include "heddle/mask/cuda/launch.h"

namespace heddle::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kRows = KeySpans::kRows;

/// A thread a key; one for each set of bounds in y.
__global__ void __launch_bounds__(kThreads)
    key_spans_kernel(const __grid_constant__ DeviceColumns mask, KeySpans::Keys* of_rows) {
  const int key = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const int64_t set = blockIdx.y;
  const int groups = (mask.query_length - 1) / kRows + 1;
  RowSpan rows{0, 0};
  if (key < mask.key_length) {
    const ColumnBounds bounds = mask.bounds[set * mask.key_length + key];
    rows = visible_span(mask_column(mask, bounds, key), mask.query_length);
  }
  if (rows.begin >= rows.end) return;
  for (int group = rows.begin / kRows; group <= (rows.end - 1) / kRows; ++group) {
    KeySpans::Keys* keys = of_rows + set * groups + group;
    atomicMin(&keys->begin, key);
    atomicMin(&keys->minus_end, -(key + 1));
  }
}

}  // namespace

int launch_key_spans(const DeviceColumns& mask, KeySpans::Keys* of_rows, CUstream_st* stream) {
  const int64_t sets = int64_t{mask.batches} * mask.heads;
  const int64_t groups = (mask.query_length - 1) / kRows + 1;
  const cudaError_t status =
      cudaMemsetAsync(of_rows, 0x7f, static_cast<size_t>(sets * groups) * sizeof *of_rows, stream);
  if (status != cudaSuccess) return status;
  const dim3 grid(static_cast<unsigned>((mask.key_length + kThreads - 1) / kThreads),
                  static_cast<unsigned>(sets));
  key_spans_kernel<<<grid, kThreads, 0, stream>>>(mask, of_rows);
  return cudaGetLastError();
}

}  // namespace heddle::cuda
