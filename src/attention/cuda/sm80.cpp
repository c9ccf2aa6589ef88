#include <algorithm>
#include <cstdint>
#include <optional>

#include "heddle/attention/cuda/cuda.h"
#include "heddle/attention/cuda/launch.h"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda {

namespace {

using heddle::cuda::TileAxis;

constexpr int kFamily = 80;

/// Rows that kernels can load 16 bytes at a time.
bool is_aligned(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.raw()) % 16 == 0 && tensor.stride(0) % 8 == 0 &&
         tensor.stride(1) % 8 == 0;
}

/// A packed tensor [T, heads, E] as a batch of one.
Rows rows_of(const Tensor& tensor) { return {tensor.raw(), 0, tensor.stride(0), tensor.stride(1)}; }

RowValues values_of(const Tensor& tensor) { return {tensor.data<float>(), 0, tensor.stride(0)}; }

TileShape shape_of(int head_dim, Direction direction) {
  const Tile shape = tile(kFamily, padded_head_dim(head_dim), direction);
  return {shape.rows, shape.keys};
}

/// How many key/value heads' operands share the L2 cache: half of a usual 50 MB, for what the
/// blocks of one section read over and over.
int32_t heads_a_section(int64_t bytes_per_head, int64_t heads) {
  constexpr int64_t kBudget = 32 << 20;
  return static_cast<int32_t>(
      std::clamp<int64_t>(kBudget / std::max<int64_t>(bytes_per_head, 1), 1, heads));
}

/// The mask on the GPU: the caller's, or one made for this call.
class MaskOnDevice {
 public:
  explicit MaskOnDevice(const Args& args) {
    if (args.device_mask == nullptr) own_.emplace(*args.mask, *args.cuda);
    mask_ = args.device_mask != nullptr ? args.device_mask : &*own_;
    const auto& columns = mask_->columns();
    HEDDLE_CHECK(columns.query_length == args.mask->query_length() &&
                     columns.key_length == args.mask->key_length() && columns.batches == 1,
                 "attention: device_mask is ", columns.query_length, " × ", columns.key_length,
                 "; expected the mask's ", args.mask->query_length(), " × ",
                 args.mask->key_length(), ", for one sequence");
  }
  DeviceMask* operator->() { return mask_; }

 private:
  std::optional<DeviceMask> own_;
  DeviceMask* mask_;
};

Problem problem_of(const Args& args, MaskOnDevice& mask) {
  Problem problem{};
  problem.mask = mask->columns();
  problem.batches = 1;
  problem.heads = static_cast<int32_t>(args.q.dim(1));
  problem.kv_heads = static_cast<int32_t>(args.k.dim(1));
  problem.head_dim = static_cast<int32_t>(args.q.dim(2));
  problem.bf16 = args.q.dtype() == DType::bf16;
  problem.scale = static_cast<float>(scale_of(args));
  problem.softcap = static_cast<float>(args.softcap);
  problem.sinks = args.sinks.defined() ? args.sinks.data<float>() : nullptr;
  problem.alibi_slopes = args.alibi_slopes.defined() ? args.alibi_slopes.data<float>() : nullptr;
  problem.stream = args.cuda->stream();
  return problem;
}

void check_context(const Args& args) {
  HEDDLE_CHECK(args.cuda != nullptr && args.cuda->device() == args.q.device(),
               "attention: no context for GPU ", args.q.device().index,
               "; expected args.cuda with a stream there");
}

}  // namespace

bool sm80_applies(const Args& args, Pass) {
  if (args.q.device().type != DeviceType::cuda) return false;
  const bool is_half = args.q.dtype() == DType::f16 || args.q.dtype() == DType::bf16;
  const bool aligned =
      is_aligned(args.q) && is_aligned(args.k) && is_aligned(args.v) && is_aligned(args.out);
  return is_half && aligned && args.q.dim(2) == args.v.dim(2) && args.q.dim(2) % 8 == 0 &&
         heddle::cuda::compute_capability(args.q.device().index) >= 80;
}

void sm80_forward(const Args& args) {
  check_context(args);
  MaskOnDevice mask(args);
  ForwardLaunch launch{};
  launch.problem = problem_of(args, mask);
  launch.q = rows_of(args.q);
  launch.k = rows_of(args.k);
  launch.v = rows_of(args.v);
  launch.out = rows_of(args.out);
  launch.lse = values_of(args.lse);
  const int head_dim = launch.problem.head_dim;
  launch.by_query = mask->tiles(TileAxis::query, shape_of(head_dim, Direction::forward));
  launch.problem.section = heads_a_section(args.k.dim(0) * head_dim * 4, args.k.dim(1));  // K and V
  switch (padded_head_dim(head_dim)) {
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

void sm80_backward(const Args& args, const Gradients& gradients) {
  check_context(args);
  HEDDLE_CHECK(is_aligned(gradients.d_out) && is_aligned(gradients.d_q) &&
                   is_aligned(gradients.d_k) && is_aligned(gradients.d_v),
               "attention: a gradient's rows begin off 16 bytes; expected aligned rows");
  MaskOnDevice mask(args);
  BackwardLaunch launch{};
  launch.problem = problem_of(args, mask);
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
  launch.deterministic = args.deterministic;

  const int64_t heads = args.q.dim(1), rows = args.q.dim(0), group = heads / args.k.dim(1);
  const int head_dim = launch.problem.head_dim, padded = padded_head_dim(head_dim);
  const TileShape shape = shape_of(head_dim, Direction::backward);
  launch.by_key = mask->tiles(TileAxis::key, shape);
  launch.query_tiles = static_cast<int32_t>((rows - 1) / shape.rows + 1);
  launch.problem.section = heads_a_section(rows * group * head_dim * 4, args.k.dim(1));  // Q and dO

  auto& memory = args.cuda->memory();
  const Tensor delta = Tensor::empty({heads, rows}, DType::f32, memory);
  launch.delta = values_of(delta);
  Tensor sums;
  if (args.deterministic) {
    launch.by_query = mask->tiles(TileAxis::query, shape_of(head_dim, Direction::forward));
  } else {
    sums = Tensor::empty({heads, launch.query_tiles, shape.rows, padded}, DType::f32, memory);
    heddle::cuda::zero(sums, args.cuda->stream());
    launch.d_q_sum = sums.data<float>();
  }
  HEDDLE_CUDA_CHECK(launch_delta(launch));
  if (launch.d_sinks != nullptr) HEDDLE_CUDA_CHECK(launch_d_sinks(launch));
  switch (padded) {
    case 64:
      HEDDLE_CUDA_CHECK(sm80::backward_64(launch));
      break;
    case 128:
      HEDDLE_CUDA_CHECK(sm80::backward_128(launch));
      break;
    default:
      HEDDLE_CUDA_CHECK(sm80::backward_256(launch));
      break;
  }
}

}  // namespace heddle::attention::cuda
