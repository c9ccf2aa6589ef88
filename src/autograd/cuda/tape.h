// The tape of a run on a GPU, and what a run there has at hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "heddle/autograd/basic_tape.h"
#include "heddle/ops/cuda/gemm.h"
#include "heddle/ops/cuda/rows.h"
#include "heddle/ops/workspace.h"
#include "heddle/tensor/cuda.h"

namespace heddle::autograd::cuda {

/// Hands out a workspace's memory as an allocator: given back by the workspace's scopes.
class WorkspaceAllocator : public Allocator {
 public:
  WorkspaceAllocator(ops::Workspace& workspace, Device device)
      : workspace_(workspace), device_(device) {}
  std::shared_ptr<Buffer> allocate(size_t bytes) override {
    return std::make_shared<Buffer>(workspace_.take<std::byte>(static_cast<int64_t>(bytes)), bytes,
                                    device_);
  }

 private:
  ops::Workspace& workspace_;
  Device device_;
};

/// A GPU with the memory of one run after the other: activations, gradients, and what a single
/// operation needs. All work is queued on one stream, so memory that was given back may be cut
/// again at once.
class Machine {
 public:
  explicit Machine(int device);
  Machine(int device, heddle::cuda::StreamHandle stream, Half half);  ///< on the caller's stream

  heddle::cuda::Context& context() { return context_; }
  heddle::cuda::Context& scratch_context() { return scratch_context_; }  ///< memory: `scratch`
  heddle::cuda::StreamHandle stream() const { return context_.stream(); }
  Half half() const { return half_; }  ///< of all rows, weights and products
  ops::cuda::Gemm& gemm() { return gemm_; }

  ops::Workspace host, values, gradients, scratch;

 private:
  template <typename... Stream>
  Machine(std::in_place_t, int device, Half half, Stream... stream);

  heddle::cuda::Context context_;
  const Half half_;
  WorkspaceAllocator scratch_memory_;
  heddle::cuda::Context scratch_context_;
  ops::cuda::Gemm gemm_;
};

struct GpuMemory {
  using Rows = ops::cuda::Rows;
  using Plain = ops::cuda::RowsView;
  using Gradient = ops::cuda::Gradient;
  using Element = BFloat16;

  explicit GpuMemory(Machine& of)
      : functions(of.host),
        values(of.values),
        gradients(of.gradients),
        device(of.context().device()),
        stream(of.stream()) {}

  void zero(BFloat16* values_at, int64_t count) const;
  void add(ops::cuda::RowsView from, ops::cuda::RowsView to, int64_t count, int64_t width) const;

  ops::Workspace &functions, &values, &gradients;
  Device device;
  heddle::cuda::StreamHandle stream;
};

using Tape = BasicTape<GpuMemory>;

}  // namespace heddle::autograd::cuda
