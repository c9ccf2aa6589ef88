#include <cstdint>

#include "heddle/attention/cuda/batched.h"
#include "heddle/attention/cuda/cuda.h"
#include "heddle/attention/cuda/sm90/backward.h"
#include "heddle/attention/cuda/sm90/forward.h"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda {

namespace {

using heddle::cuda::TileAxis;

int launch_forward(const sm90::ForwardParams& params, int blocks) {
  switch (padded_head_dim(params.launch.problem.head_dim)) {
    case 64:
      return sm90::forward_64(params, blocks);
    case 128:
      return sm90::forward_128(params, blocks);
    default:
      return sm90::forward_256(params, blocks);
  }
}

int launch_backward(const sm90::BackwardParams& params, int blocks) {
  switch (padded_head_dim(params.launch.problem.head_dim)) {
    case 64:
      return sm90::backward_64(params, blocks);
    case 128:
      return sm90::backward_128(params, blocks);
    default:
      return sm90::backward_256(params, blocks);
  }
}

/// Cuts one piece of memory into the parts of a launch's scratch.
Tensor allocate(const BackwardLaunch& launch, const uint16_t* turns, Allocator& memory,
                sm90::BackwardScratch& scratch) {
  const bool deterministic = turns != nullptr;
  const sm90::BackwardScratchSizes sizes = sm90::backward_scratch(launch);
  int64_t words = 0;
  const auto take = [&](int64_t count) {  // at multiples of 128 bytes
    const int64_t at = words;
    words += (count + 31) / 32 * 32;
    return at;
  };
  const int64_t queue = take(sizeof(sm90::WorkQueue) / 4), sums = take(sizes.d_q_sum),
                terms = take(sizes.row_terms), served = take(deterministic ? sizes.served : 0);
  const Tensor tensor = Tensor::empty({words}, DType::f32, memory);
  auto* const at = tensor.data<float>();
  scratch = {at + sums, at + terms, reinterpret_cast<sm90::WorkQueue*>(at + queue), turns,
             deterministic ? reinterpret_cast<uint32_t*>(at + served) : nullptr};
  return tensor;
}

}  // namespace

// 90a code runs on 9.0 alone.
bool sm90::runs_on(Device device) {
  return device.type == DeviceType::cuda && heddle::cuda::compute_capability(device.index) == 90;
}

void sm90::forward(const BatchArgs& args) {
  check(args);
  ForwardLaunch launch = forward_launch(args);
  const Tile shape = tile(90, padded_head_dim(launch.problem.head_dim), Direction::forward);
  launch.by_query = args.mask->tiles(TileAxis::query, {shape.rows, shape.keys});
  launch.problem.section = pairs_a_section(args.k.dim(1) * launch.problem.head_dim * 4,  // K and V
                                           args.k.dim(0) * args.k.dim(2));
  const int blocks = heddle::cuda::multiprocessors(args.q.device().index);
  const int64_t items = args.q.dim(0) * args.q.dim(2) * launch.by_query.tiles;
  Tensor queue;
  if (items > blocks) {
    queue = Tensor::empty({sizeof(WorkQueue) / 4}, DType::i32, args.context->memory());
    heddle::cuda::zero(queue, args.context->stream());
  }
  auto* const queue_data = queue.defined() ? static_cast<WorkQueue*>(queue.raw()) : nullptr;
  HEDDLE_CUDA_CHECK(launch_forward(forward_params(launch, queue_data), blocks));
}

bool sm90::has_backward(Device device, int64_t head_dim, bool deterministic) {
  return (head_dim <= 128 || !deterministic) && runs_on(device);
}

void sm90::backward(const BatchArgs& args, const Gradients& gradients) {
  check(args, gradients);
  BackwardLaunch launch = backward_launch(args, gradients);
  const int64_t batches = args.q.dim(0), rows = args.q.dim(1), heads = args.q.dim(2);
  const Tile shape = backward_tile(launch.problem.head_dim);
  launch.by_key = args.mask->tiles(TileAxis::key, {shape.rows, shape.keys});
  const int blocks = heddle::cuda::multiprocessors(args.q.device().index);
  launch.problem.section = backward_section(launch, blocks, args.deterministic);
  auto& memory = args.context->memory();
  Tensor delta;
  if (launch.d_sinks != nullptr) {
    delta = Tensor::empty({batches, heads, rows}, DType::f32, memory);
    launch.delta = {delta.data<float>(), delta.stride(0), delta.stride(1)};
  }
  BackwardScratch scratch{};
  const uint16_t* turns = args.deterministic ? args.mask->turns({shape.rows, shape.keys}) : nullptr;
  const Tensor tensor = allocate(launch, turns, memory, scratch);
  heddle::cuda::zero(tensor.slice(0, 0, sizeof(WorkQueue) / 4), args.context->stream());
  HEDDLE_CUDA_CHECK(launch_backward(backward_params(launch, scratch), blocks));
  if (launch.d_sinks != nullptr) HEDDLE_CUDA_CHECK(launch_d_sinks(launch));
}

bool sm90_applies(const Args& args, Pass pass) {
  return sm80_applies(args, pass) && sm90::runs_on(args.q.device()) &&
         (pass == Pass::forward ||
          sm90::has_backward(args.q.device(), args.q.dim(2), args.deterministic));
}

void sm90_backward(const Args& args, const Gradients& gradients) {
  MaskOnDevice mask(args);
  sm90::backward(as_batch(args, *mask), as_batch(gradients));
}

void sm90_forward(const Args& args) {
  MaskOnDevice mask(args);
  sm90::forward(as_batch(args, *mask));
}

}  // namespace heddle::attention::cuda
