#include "cli/bench_gpu.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "heddle/attention/table.h"
#include "heddle/base/random.h"
#include "heddle/mask/device_mask.h"
#include "heddle/tensor/cuda.h"

namespace heddle::cli {

namespace {

constexpr TileShape kTile{128, 128};  // what the tile figure counts
constexpr double kWindow = 0.03;      // seconds of launches between two events

void check_gpu() {
  HEDDLE_CHECK(cuda::device_count() > 0, "bench: device is cuda; found ",
               cuda::is_built() ? "no GPU" : "a build without CUDA",
               ". Hint: --device cpu, or build where nvcc is");
}

Tensor random_on_gpu(const Shape& shape, uint64_t seed, cuda::Context& context) {
  Tensor host = Tensor::empty(shape, DType::bf16);
  Random random(seed);
  for (int64_t i = 0; i < shape.elements(); ++i) {
    host.data<BFloat16>()[i] = BFloat16(static_cast<float>(random.normal()));
  }
  return cuda::to_gpu(host, context);
}

/// Seconds of one launch.
template <typename Launch>
double seconds_of(const Launch& launch, int64_t count, cuda::Context& context) {
  cuda::Event begin, end;
  begin.record(context.stream());
  for (int64_t n = 0; n < count; ++n) launch();
  end.record(context.stream());
  return end.milliseconds_since(begin) / 1e3 / static_cast<double>(count);
}

template <typename Launch>
double median_seconds(const Launch& launch, int64_t repeats, cuda::Context& context) {
  const double once = seconds_of(launch, 1, context);
  const auto count = static_cast<int64_t>(std::clamp(kWindow / once, 1.0, 500.0));
  std::vector<double> times;
  for (int64_t n = 0; n < repeats; ++n) times.push_back(seconds_of(launch, count, context));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace

BenchResult measure_on_gpu(const ColumnMask& mask, BenchResult result, const GpuBench& options) {
  check_gpu();
  const auto [length, heads, kv_heads, head_dim] =
      std::tie(result.length, result.heads, result.kv_heads, result.head_dim);
  cuda::CachingAllocator memory(0);
  cuda::Context context(0, nullptr, memory);
  attention::Args args;
  const int64_t rows = mask.query_length();
  args.q = random_on_gpu({rows, heads, head_dim}, 1, context);       // [Tq, H, E]
  args.k = random_on_gpu({length, kv_heads, head_dim}, 2, context);  // [T, K, E]
  args.v = random_on_gpu({length, kv_heads, head_dim}, 3, context);  // [T, K, E]
  args.out = Tensor::empty(args.q.shape(), DType::bf16, memory);
  args.lse = Tensor::empty({heads, rows}, DType::f32, memory);
  const attention::Gradients gradients{random_on_gpu(args.q.shape(), 4, context),
                                       Tensor::empty(args.q.shape(), DType::bf16, memory),
                                       Tensor::empty(args.k.shape(), DType::bf16, memory),
                                       Tensor::empty(args.k.shape(), DType::bf16, memory)};
  DeviceMask device_mask(mask, context);
  args.mask = &mask;
  args.cuda = &context;
  args.device_mask = &device_mask;
  args.deterministic = options.deterministic;

  const double per_mask_head = static_cast<double>(heads) / mask.heads();
  result.density = mask.density();
  result.visible_pairs = static_cast<double>(mask.visible_pairs()) * per_mask_head;
  const TileCounts counts = MaskPlan(mask, kTile).counts();
  result.tile_elements =
      static_cast<double>(counts.full + counts.partial) * per_mask_head * kTile.rows * kTile.keys;

  using attention::Pass;
  const auto row = [&](Pass pass) {
    return std::string(attention::implementation_for(args, pass, options.implementation).name);
  };
  result.forward.implementation = row(Pass::forward);
  result.backward.implementation = row(Pass::backward);
  const auto forward = [&] { attention::forward(args, options.implementation); };
  const auto backward = [&] { attention::backward(args, gradients, options.implementation); };
  const size_t before = memory.held();
  forward();  // builds the plans as well
  backward();
  result.peak_bytes = static_cast<int64_t>(memory.held() - before);
  result.forward.skipping = median_seconds(forward, options.repeats, context);
  result.backward.skipping = median_seconds(backward, options.repeats, context);
  context.synchronize();
  return result;
}

}  // namespace heddle::cli
