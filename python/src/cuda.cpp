// Attention on a GPU: addresses, strides and the caller's stream in, kernels queued, nothing waited
// for. Scratch memory comes from the caller too, so that it counts, is reused and is captured into
// CUDA graphs as the caller's own is.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bind.h"
#include "heddle/attention/cuda/batched.h"
#include "heddle/mask/device_mask.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heddle::python {

namespace {

using cuda::StreamHandle;

/// A tensor on a GPU: address, lengths, strides in elements, element type, GPU.
using Described =
    std::tuple<uintptr_t, std::vector<int64_t>, std::vector<int64_t>, std::string, int>;

Shape axes(const std::vector<int64_t>& lengths) {
  switch (lengths.size()) {
    case 3:
      return {lengths[0], lengths[1], lengths[2]};
    case 4:
      return {lengths[0], lengths[1], lengths[2], lengths[3]};
    default:
      detail::throw_error(str("attention: found a tensor of ", lengths.size(),
                              " axes; expected [B, S, heads, D] or [B, H, S]"));
  }
}

DType dtype_of_name(const std::string& name) {
  for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i32}) {
    if (name_of(dtype) == name) return dtype;
  }
  detail::throw_error(str("attention: found elements of type ", name, "; expected bf16 or f16"));
}

Tensor tensor_of(const Described& described) {
  const auto& [address, lengths, strides, dtype, device] = described;
  return Tensor::wrap(reinterpret_cast<void*>(address), axes(lengths), axes(strides),
                      dtype_of_name(dtype), {DeviceType::cuda, device});
}

/// Memory that a Python function makes: empty(bytes) gives an object with data_ptr().
class PythonMemory : public Allocator {
 public:
  PythonMemory(nb::callable empty, Device device) : empty_(std::move(empty)), device_(device) {}

  std::shared_ptr<Buffer> allocate(size_t bytes) override {
    class Held : public Buffer {
     public:
      Held(nb::object owner, void* data, size_t size, Device device)
          : Buffer(data, size, device), owner_(std::move(owner)) {}

     private:
      nb::object owner_;
    };
    nb::object owner = empty_(bytes);
    auto* const data = reinterpret_cast<void*>(nb::cast<uintptr_t>(owner.attr("data_ptr")()));
    return std::make_shared<Held>(std::move(owner), data, bytes, device_);
  }

 private:
  nb::callable empty_;
  Device device_;
};

/// What says, beside the tensors, which mask and which plans a plan's memory holds.
struct Planned {
  int64_t query_length, key_length;
  bool causal;
  int64_t offset, head_dim;
  bool backward, deterministic;
  int compute_capability;
};

std::vector<TilePlan> plans_of(const Planned& planned, Device device) {
  return attention::cuda::tile_plans(device, static_cast<int>(planned.head_dim), planned.backward,
                                     planned.deterministic, planned.compute_capability);
}

/// `memory` is [mask batches, mask heads, elements].
DeviceMask mask_of(const Planned& planned, const Tensor& memory, cuda::Context& context) {
  const cuda::DeviceColumns columns{nullptr,
                                    static_cast<int32_t>(memory.dim(0)),
                                    static_cast<int32_t>(memory.dim(1)),
                                    static_cast<int32_t>(planned.query_length),
                                    static_cast<int32_t>(planned.key_length),
                                    static_cast<int32_t>(planned.offset),
                                    planned.causal};
  return {columns, plans_of(planned, memory.device()), memory, context};
}

void make_plan(const Planned& planned, const Described& plan, const Described& columns,
               uintptr_t stream, const nb::callable& empty) {
  const Tensor memory = tensor_of(plan);
  const Device device = memory.device();
  const auto& [address, lengths, strides, dtype, index] =
      columns;  // contiguous; no memory if n = 0
  const Shape shape = axes(lengths);
  HEDDLE_CHECK(shape.rank() == 4 && dtype == "i32" && index == device.index,
               "attention: startend_row_indices is ", dtype, " ", shape.text(),
               "; expected i32 of 4 axes on the GPU of query");
  const cuda::DeviceGuard guard(device.index);
  PythonMemory scratch(empty, device);
  cuda::Context context(device.index, reinterpret_cast<StreamHandle>(stream), scratch);
  mask_of(planned, memory, context)
      .import({reinterpret_cast<const int32_t*>(address), static_cast<int32_t>(shape[3]), shape[3],
               shape[2] * shape[3]});
}

/// What a call of either pass holds while it queues its kernels.
class Call {
 public:
  Call(const Planned& planned, const std::vector<Described>& tensors, const Described& plan,
       std::optional<double> scale, uintptr_t stream, const nb::callable& empty)
      : device_{DeviceType::cuda, std::get<4>(plan)},
        guard_(device_.index),
        memory_(empty, device_),
        context_(device_.index, reinterpret_cast<StreamHandle>(stream), memory_),
        plan_(tensor_of(plan)),
        mask_(mask_of(planned, plan_, context_)) {
    args_.q = tensor_of(tensors.at(0));    // [B, S, H, D]
    args_.k = tensor_of(tensors.at(1));    // [B, Sk, K, D]
    args_.v = tensor_of(tensors.at(2));    // [B, Sk, K, D]
    args_.out = tensor_of(tensors.at(3));  // [B, S, H, D]
    args_.lse = tensor_of(tensors.at(4));  // [B, H, S]
    args_.mask = &mask_;
    args_.context = &context_;
    args_.scale = scale;
    args_.deterministic = planned.deterministic;
    args_.compute_capability = planned.compute_capability;
  }

  const attention::cuda::BatchArgs& args() const { return args_; }

 private:
  Device device_;
  cuda::DeviceGuard guard_;
  PythonMemory memory_;
  cuda::Context context_;
  Tensor plan_;
  DeviceMask mask_;
  attention::cuda::BatchArgs args_;
};

void forward(const Planned& planned, const std::vector<Described>& tensors, const Described& plan,
             std::optional<double> scale, uintptr_t stream, const nb::callable& empty) {
  const Call call(planned, tensors, plan, scale, stream, empty);
  attention::cuda::forward(call.args());
}

void backward(const Planned& planned, const std::vector<Described>& tensors, const Described& plan,
              std::optional<double> scale, uintptr_t stream, const nb::callable& empty) {
  const Call call(planned, tensors, plan, scale, stream, empty);
  attention::cuda::backward(call.args(), {.d_out = tensor_of(tensors.at(5)),
                                          .d_q = tensor_of(tensors.at(6)),
                                          .d_k = tensor_of(tensors.at(7)),
                                          .d_v = tensor_of(tensors.at(8))});
}

/// (along queries, rows, keys) of each plan.
std::vector<std::tuple<bool, int, int>> tile_plans(int device, int head_dim, bool with_backward,
                                                   bool deterministic, int compute_capability) {
  std::vector<std::tuple<bool, int, int>> list;
  for (const TilePlan& plan :
       attention::cuda::tile_plans({DeviceType::cuda, device}, head_dim, with_backward,
                                   deterministic, compute_capability)) {
    list.emplace_back(plan.axis == cuda::TileAxis::query, plan.shape.rows, plan.shape.keys);
  }
  return list;
}

}  // namespace

void bind_cuda(nb::module_& module) {
  nb::class_<Planned>(module, "Planned",
                      "What says, beside the tensors, which mask and plans a plan's memory holds.")
      .def(nb::init<int64_t, int64_t, bool, int64_t, int64_t, bool, bool, int>(), "query_length"_a,
           "key_length"_a, "causal"_a, "offset"_a, "head_dim"_a, "backward"_a, "deterministic"_a,
           "compute_capability"_a);
  module.def("cuda_built", &cuda::is_built, "Whether this build has kernels for GPUs.");
  module.def(
      "cuda_capture",
      [](uintptr_t stream) { return cuda::capture_of(reinterpret_cast<StreamHandle>(stream)); },
      "stream"_a, "Names the capture into a CUDA graph that the stream is in; 0: none.");
  module.def("cuda_tile_plans", &tile_plans, "device"_a, "head_dim"_a, "backward"_a,
             "deterministic"_a, "compute_capability"_a,
             "The plans that a call needs on this GPU: (along queries, rows, keys) of each.");
  module.def("cuda_plan", &make_plan, "planned"_a, "plan"_a, "columns"_a, "stream"_a, "empty"_a,
             "Fills plan, i32 [batches, heads, size], from i32 columns [batches, heads, Sk, n],\n"
             "both contiguous.");
  module.def("cuda_forward", &forward, "planned"_a, "tensors"_a, "plan"_a, "scale"_a.none(),
             "stream"_a, "empty"_a,
             "Queues the forward pass. tensors are query, key, value, out and lse, each as\n"
             "(address, lengths, strides, type, device); empty(bytes) makes scratch memory.");
  module.def("cuda_backward", &backward, "planned"_a, "tensors"_a, "plan"_a, "scale"_a.none(),
             "stream"_a, "empty"_a,
             "Queues the backward pass: as cuda_forward, with d_out, d_query, d_key and d_value\n"
             "behind the five.");
}

}  // namespace heddle::python
