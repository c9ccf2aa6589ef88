#include "heddle/attention/cuda/batched.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heddle::attention::cuda {

namespace {

Rows rows_of(const Tensor& tensor) {
  return {tensor.raw(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

RowValues values_of(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.stride(0), tensor.stride(1)};
}

void check_rows(const char* name, const Tensor& tensor, const Shape& shape, const Tensor& q) {
  HEDDLE_CHECK(tensor.defined() && tensor.rank() == 4 && tensor.shape() == shape,
               "attention: ", name, " is ", tensor.defined() ? tensor.shape().text() : "not given",
               "; expected ", shape.text());
  HEDDLE_CHECK(tensor.dtype() == q.dtype() && tensor.device() == q.device(), "attention: ", name,
               " is ", name_of(tensor.dtype()), "; expected ", name_of(q.dtype()),
               " on the same GPU as q");
  HEDDLE_CHECK(is_aligned(tensor), "attention: rows of ", name, " begin off 16 bytes (strides ",
               tensor.stride(0), ", ", tensor.stride(1), ", ", tensor.stride(2), ", ",
               tensor.stride(3), "); expected aligned rows and a dense last axis. Hint: copy it to",
               " a contiguous tensor");
}

void check_floats(const char* name, const Tensor& tensor, const Shape& shape, const Tensor& q) {
  HEDDLE_CHECK(tensor.shape() == shape && tensor.dtype() == DType::f32 &&
                   tensor.device() == q.device() && tensor.stride(tensor.rank() - 1) == 1,
               "attention: ", name, " is ", name_of(tensor.dtype()), " ", tensor.shape().text(),
               "; expected dense f32 ", shape.text(), " on q's GPU");
}

Problem problem_of(const BatchArgs& args) {
  Problem problem{};
  problem.mask = args.mask->columns();
  problem.batches = static_cast<int32_t>(args.q.dim(0));
  problem.heads = static_cast<int32_t>(args.q.dim(2));
  problem.kv_heads = static_cast<int32_t>(args.k.dim(2));
  problem.head_dim = static_cast<int32_t>(args.q.dim(3));
  problem.bf16 = args.q.dtype() == DType::bf16;
  const auto head_dim = static_cast<double>(problem.head_dim);
  problem.scale = static_cast<float>(args.scale.value_or(1 / std::sqrt(head_dim)));
  problem.softcap = static_cast<float>(args.softcap);
  problem.sinks = args.sinks.defined() ? args.sinks.data<float>() : nullptr;
  problem.alibi_slopes = args.alibi_slopes.defined() ? args.alibi_slopes.data<float>() : nullptr;
  problem.stream = args.context->stream();
  return problem;
}

bool uses_sm90(Device device, int as) { return (as == 0 || as == 90) && sm90::runs_on(device); }

}  // namespace

bool is_aligned(const Tensor& tensor) {
  bool aligned = reinterpret_cast<uintptr_t>(tensor.raw()) % 16 == 0;
  for (int axis = 0; axis + 1 < tensor.rank(); ++axis) {
    aligned = aligned && (tensor.dim(axis) == 1 || tensor.stride(axis) % 8 == 0);
  }
  return aligned && tensor.stride(tensor.rank() - 1) == 1;
}

void check(const BatchArgs& args) {
  const Tensor& q = args.q;
  HEDDLE_CHECK(q.rank() == 4 && args.k.rank() == 4, "attention: q is ", q.shape().text(), ", k ",
               args.k.shape().text(), "; expected [B, Tq, H, E], [B, Tk, K, E]");
  const int64_t batches = q.dim(0), rows = q.dim(1), heads = q.dim(2), head_dim = q.dim(3);
  const int64_t keys = args.k.dim(1), kv_heads = args.k.dim(2);
  HEDDLE_CHECK(q.dtype() == DType::bf16 || q.dtype() == DType::f16, "attention: q is ",
               name_of(q.dtype()), "; expected bf16 or f16");
  HEDDLE_CHECK(head_dim % 8 == 0 && head_dim >= 8 && head_dim <= kMaxHeadDim,
               "attention: head dim is E=", head_dim, "; expected a multiple of 8 up to ",
               kMaxHeadDim, ". Hint: pad q, k and v with zeros, and give the scale");
  HEDDLE_CHECK(kv_heads >= 1 && heads % kv_heads == 0, "attention: q has H=", heads,
               " heads, k has K=", kv_heads, "; expected H to be a multiple of K");
  check_rows("q", q, q.shape(), q);
  check_rows("k", args.k, {batches, keys, kv_heads, head_dim}, q);
  check_rows("v", args.v, {batches, keys, kv_heads, head_dim}, q);
  check_rows("out", args.out, q.shape(), q);
  check_floats("lse", args.lse, {batches, heads, rows}, q);
  if (args.sinks.defined()) check_floats("sinks", args.sinks, {heads}, q);
  if (args.alibi_slopes.defined()) check_floats("alibi_slopes", args.alibi_slopes, {heads}, q);
  HEDDLE_CHECK(args.context != nullptr && args.context->device() == q.device(),
               "attention: no context for GPU ", q.device().index,
               "; expected one with a stream there");
  HEDDLE_CHECK(args.mask != nullptr, "attention: mask is not given; expected a DeviceMask");
  const auto& mask = args.mask->columns();
  HEDDLE_CHECK(mask.query_length == rows && mask.key_length == keys &&
                   (mask.batches == 1 || mask.batches == batches) &&
                   (mask.heads == 1 || mask.heads == kv_heads),
               "attention: device mask is ", mask.batches, " sequences × ", mask.heads,
               " heads of ", mask.query_length, " × ", mask.key_length, "; expected 1 or ", batches,
               " × 1 or ", kv_heads, " of ", rows, " × ", keys);
}

void check(const BatchArgs& args, const Gradients& gradients) {
  check(args);
  check_rows("d_out", gradients.d_out, args.q.shape(), args.q);
  check_rows("d_q", gradients.d_q, args.q.shape(), args.q);
  check_rows("d_k", gradients.d_k, args.k.shape(), args.q);
  check_rows("d_v", gradients.d_v, args.k.shape(), args.q);
  HEDDLE_CHECK(args.sinks.defined() == gradients.d_sinks.defined(),
               "attention: one of sinks and d_sinks is not given; expected both or neither");
  if (args.sinks.defined()) check_floats("d_sinks", gradients.d_sinks, args.sinks.shape(), args.q);
}

ForwardLaunch forward_launch(const BatchArgs& args) {
  ForwardLaunch launch{};
  launch.problem = problem_of(args);
  launch.q = rows_of(args.q);
  launch.k = rows_of(args.k);
  launch.v = rows_of(args.v);
  launch.out = rows_of(args.out);
  launch.lse = values_of(args.lse);
  return launch;
}

BackwardLaunch backward_launch(const BatchArgs& args, const Gradients& gradients) {
  BackwardLaunch launch{};
  launch.problem = problem_of(args);
  launch.q = rows_of(args.q);
  launch.k = rows_of(args.k);
  launch.v = rows_of(args.v);
  launch.out = rows_of(args.out);
  launch.d_out = rows_of(gradients.d_out);
  launch.d_q = rows_of(gradients.d_q);
  launch.d_k = rows_of(gradients.d_k);
  launch.d_v = rows_of(gradients.d_v);
  launch.lse = values_of(args.lse);
  launch.d_sinks = gradients.d_sinks.defined() ? gradients.d_sinks.data<float>() : nullptr;
  return launch;
}

int32_t pairs_a_section(int64_t bytes, int64_t pairs) {
  constexpr int64_t kBudget = 32 << 20;  // of a usual 50 MB
  return static_cast<int32_t>(std::clamp<int64_t>(kBudget / std::max<int64_t>(bytes, 1), 1, pairs));
}

Tensor as_batch(const Tensor& tensor) {
  if (tensor.rank() == 2) {
    return Tensor::wrap(tensor.raw(), {1, tensor.dim(0), tensor.dim(1)},
                        {0, tensor.stride(0), tensor.stride(1)}, tensor.dtype(), tensor.device());
  }
  return Tensor::wrap(tensor.raw(), {1, tensor.dim(0), tensor.dim(1), tensor.dim(2)},
                      {0, tensor.stride(0), tensor.stride(1), tensor.stride(2)}, tensor.dtype(),
                      tensor.device());
}

BatchArgs as_batch(const Args& args, DeviceMask& mask) {
  return {.q = as_batch(args.q),
          .k = as_batch(args.k),
          .v = as_batch(args.v),
          .out = as_batch(args.out),
          .lse = as_batch(args.lse),
          .mask = &mask,
          .context = args.cuda,
          .scale = args.scale,
          .softcap = args.softcap,
          .sinks = args.sinks,
          .alibi_slopes = args.alibi_slopes,
          .deterministic = args.deterministic};
}

Gradients as_batch(const Gradients& gradients) {
  return {as_batch(gradients.d_out), as_batch(gradients.d_q), as_batch(gradients.d_k),
          as_batch(gradients.d_v), gradients.d_sinks};
}

MaskOnDevice::MaskOnDevice(const Args& args) {
  HEDDLE_CHECK(args.cuda != nullptr && args.cuda->device() == args.q.device(),
               "attention: no context for GPU ", args.q.device().index,
               "; expected args.cuda with a stream there");
  if (args.device_mask == nullptr) own_.emplace(*args.mask, *args.cuda);
  mask_ = args.device_mask != nullptr ? args.device_mask : &*own_;
}

SharedMemory shared_memory_of(Device device, int as) {
  if (as != 0) return shared_memory_by_capability(as);
  const auto bytes = heddle::cuda::shared_memory_per_block(device.index);
  return shared_memory_class(static_cast<int64_t>(bytes));
}

std::vector<TilePlan> tile_plans(Device device, int head_dim, bool with_backward,
                                 bool deterministic, int compute_capability) {
  using heddle::cuda::TileAxis;
  const SharedMemory memory = shared_memory_of(device, compute_capability);
  const auto plan = [&](TileAxis axis, int family, Direction direction) -> TilePlan {
    const Tile shape = tile(family, padded_head_dim(head_dim), direction, memory);
    return {axis, {shape.rows, shape.keys}};
  };
  const bool is_90 = uses_sm90(device, compute_capability);
  std::vector<TilePlan> plans{plan(TileAxis::query, is_90 ? 90 : 80, Direction::forward)};
  const int backward_family =
      is_90 && sm90::has_backward(device, head_dim, deterministic) ? 90 : 80;
  if (with_backward) plans.push_back(plan(TileAxis::key, backward_family, Direction::backward));
  if (with_backward && deterministic && backward_family == 80) {
    plans.push_back(plan(TileAxis::query, 80, Direction::query_gradient));
  }
  return plans;
}

void forward(const BatchArgs& args) {
  if (uses_sm90(args.q.device(), args.compute_capability)) {
    sm90::forward(args);
  } else {
    sm80::forward(args);
  }
}

void backward(const BatchArgs& args, const Gradients& gradients) {
  const Device device = args.q.device();
  if (uses_sm90(device, args.compute_capability) &&
      sm90::has_backward(device, args.q.dim(3), args.deterministic)) {
    sm90::backward(args, gradients);
  } else {
    sm80::backward(args, gradients);
  }
}

}  // namespace heddle::attention::cuda
