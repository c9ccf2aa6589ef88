#include "heddle/autograd/cuda/tape.h"

#include <utility>

namespace heddle::autograd::cuda {

namespace {

constexpr size_t kLargestBlock = size_t{512} << 20;  // bytes; more would be held and not used

}  // namespace

template <typename... Stream>
Machine::Machine(std::in_place_t, int device, Half half, Stream... stream)
    : values(heddle::cuda::block_allocator(device), kLargestBlock),
      gradients(heddle::cuda::block_allocator(device), kLargestBlock),
      scratch(heddle::cuda::block_allocator(device), kLargestBlock),
      context_(device, stream...),
      half_(half),
      scratch_memory_(scratch, context_.device()),
      scratch_context_(device, context_.stream(), scratch_memory_),
      gemm_(context_, half) {}

Machine::Machine(int device) : Machine(std::in_place, device, Half::bf16) {}
Machine::Machine(int device, heddle::cuda::StreamHandle stream, Half half)
    : Machine(std::in_place, device, half, stream) {}

void GpuMemory::zero(BFloat16* values_at, int64_t count) const {
  heddle::cuda::zero(Tensor::wrap(values_at, {count}, {1}, DType::bf16, device), stream);
}

void GpuMemory::add(ops::cuda::RowsView from, ops::cuda::RowsView to, int64_t count,
                    int64_t width) const {
  HEDDLE_CUDA_CHECK(ops::cuda::launch_add(
      {.extent = {count, width}, .first = to, .second = from, .y = to, .dropout = {}}, stream));
}

}  // namespace heddle::autograd::cuda
