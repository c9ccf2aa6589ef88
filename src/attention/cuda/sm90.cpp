#include <cstdint>

#include "heddle/attention/cuda/batched.h"
#include "heddle/attention/cuda/cuda.h"
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
  const int blocks = multiprocessors(args.q.device().index);
  const int64_t items = args.q.dim(0) * args.q.dim(2) * launch.by_query.tiles;
  Tensor queue;
  if (items > blocks) {
    queue = Tensor::empty({sizeof(WorkQueue) / 4}, DType::i32, args.context->memory());
    heddle::cuda::zero(queue, args.context->stream());
  }
  auto* const queue_data = queue.defined() ? static_cast<WorkQueue*>(queue.raw()) : nullptr;
  HEDDLE_CUDA_CHECK(launch_forward(forward_params(launch, queue_data), blocks));
}

bool sm90_applies(const Args& args, Pass pass) {
  return pass == Pass::forward && sm80_applies(args, pass) && sm90::runs_on(args.q.device());
}

void sm90_forward(const Args& args) {
  MaskOnDevice mask(args);
  sm90::forward(as_batch(args, *mask));
}

}  // namespace heddle::attention::cuda
