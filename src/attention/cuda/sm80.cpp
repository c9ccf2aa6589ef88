#include <cstdint>

#include "heddle/attention/cuda/batched.h"
#include "heddle/attention/cuda/cuda.h"
#include "heddle/attention/cuda/launch.h"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda {

namespace {

using heddle::cuda::TileAxis;
using heddle::cuda::TileBits;

SharedMemory memory_of(const BatchArgs& args) {
  return shared_memory_of(args.q.device(), args.compute_capability);
}

const TileBits& plan(const BatchArgs& args, TileAxis axis, Direction direction) {
  const int head_dim = padded_head_dim(static_cast<int>(args.q.dim(3)));
  const Tile shape = tile(80, head_dim, direction, memory_of(args));
  return args.mask->tiles(axis, {shape.rows, shape.keys});
}

int launch_backward(const BackwardLaunch& launch, SharedMemory memory) {
  switch (padded_head_dim(launch.problem.head_dim)) {
    case 64:
      return sm80::backward_64(launch);
    case 128:
      return memory == SharedMemory::kb99 ? sm80::backward_128_99(launch)
                                          : sm80::backward_128(launch);
    default:
      return memory == SharedMemory::kb99    ? sm80::backward_256_99(launch)
             : memory == SharedMemory::kb163 ? sm80::backward_256_163(launch)
                                             : sm80::backward_256(launch);
  }
}

int launch_query_gradient(const BackwardLaunch& launch, SharedMemory memory) {
  switch (padded_head_dim(launch.problem.head_dim)) {
    case 64:
      return sm80::query_gradient_64(launch);
    case 128:
      return memory == SharedMemory::kb99 ? sm80::query_gradient_128_99(launch)
                                          : sm80::query_gradient_128(launch);
    default:
      return memory == SharedMemory::kb99    ? sm80::query_gradient_256_99(launch)
             : memory == SharedMemory::kb163 ? sm80::query_gradient_256_163(launch)
                                             : sm80::query_gradient_256(launch);
  }
}

}  // namespace

void sm80::forward(const BatchArgs& args) {
  check(args);
  ForwardLaunch launch = forward_launch(args);
  launch.by_query = plan(args, TileAxis::query, Direction::forward);
  launch.problem.section = pairs_a_section(args.k.dim(1) * launch.problem.head_dim * 4,  // K and V
                                           args.k.dim(0) * args.k.dim(2));
  switch (padded_head_dim(launch.problem.head_dim)) {
    case 64:
      HEDDLE_CUDA_CHECK(sm80::forward_64(launch));
      break;
    case 128:
      HEDDLE_CUDA_CHECK(sm80::forward_128(launch));
      break;
    default:
      HEDDLE_CUDA_CHECK(sm80::forward_256(launch));
      break;
  }
}

void sm80::backward(const BatchArgs& args, const Gradients& gradients) {
  check(args, gradients);
  BackwardLaunch launch = backward_launch(args, gradients);
  launch.by_key = plan(args, TileAxis::key, Direction::backward);
  const int64_t batches = args.q.dim(0), rows = args.q.dim(1), heads = args.q.dim(2);
  const int64_t kv_heads = args.k.dim(2), head_dim = args.q.dim(3);
  launch.query_tiles = static_cast<int32_t>((rows - 1) / launch.by_key.rows + 1);
  launch.problem.section = pairs_a_section(rows * (heads / kv_heads) * head_dim * 4,  // Q and dO
                                           batches * kv_heads);
  auto& memory = args.context->memory();
  const Tensor delta = Tensor::empty({batches, heads, rows}, DType::f32, memory);
  launch.delta = {delta.data<float>(), delta.stride(0), delta.stride(1)};
  Tensor sums;
  if (args.deterministic) {
    launch.by_query = plan(args, TileAxis::query, Direction::query_gradient);
  } else {
    const int64_t padded = padded_head_dim(static_cast<int>(head_dim));
    sums = Tensor::empty({batches, heads, int64_t{launch.query_tiles} * launch.by_key.rows, padded},
                         DType::f32, memory);
    launch.d_q_sum = sums.data<float>();
  }
  HEDDLE_CUDA_CHECK(launch_delta(launch));
  if (launch.d_sinks != nullptr) HEDDLE_CUDA_CHECK(launch_d_sinks(launch));
  HEDDLE_CUDA_CHECK(launch_backward(launch, memory_of(args)));
  if (args.deterministic) HEDDLE_CUDA_CHECK(launch_query_gradient(launch, memory_of(args)));
}

bool sm80_applies(const Args& args, Pass) {
  if (args.q.device().type != DeviceType::cuda) return false;
  const bool is_half = args.q.dtype() == DType::f16 || args.q.dtype() == DType::bf16;
  const bool aligned =
      is_aligned(args.q) && is_aligned(args.k) && is_aligned(args.v) && is_aligned(args.out);
  return is_half && aligned && args.q.dim(2) == args.v.dim(2) && args.q.dim(2) % 8 == 0 &&
         heddle::cuda::compute_capability(args.q.device().index) >= 80;
}

void sm80_forward(const Args& args) {
  MaskOnDevice mask(args);
  sm80::forward(as_batch(args, *mask));
}

void sm80_backward(const Args& args, const Gradients& gradients) {
  MaskOnDevice mask(args);
  sm80::backward(as_batch(args, *mask), as_batch(gradients));
}

}  // namespace heddle::attention::cuda
