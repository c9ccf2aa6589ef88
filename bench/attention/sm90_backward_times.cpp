// Timings of the Hopper backward: dense, masked, by section.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "heddle/mask/builders.h"
#include "heddle/mask/families.h"
#include "sm90_backward_lab.h"

namespace lab {

namespace masks = heddle::masks;

namespace {

template <typename Body>
double milliseconds(int runs, int rounds, const Body& body) {
  for (int i = 0; i < 2; ++i) body();
  wait_for_gpu();
  cudaEvent_t begin, end;
  LAB_CHECK(cudaEventCreate(&begin));
  LAB_CHECK(cudaEventCreate(&end));
  std::vector<float> times;
  for (int round = 0; round < rounds; ++round) {
    LAB_CHECK(cudaEventRecord(begin));
    for (int i = 0; i < runs; ++i) body();
    LAB_CHECK(cudaEventRecord(end));
    wait_for_gpu();
    float time = 0;
    LAB_CHECK(cudaEventElapsedTime(&time, begin, end));
    times.push_back(time / static_cast<float>(runs));
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void time_case(const std::string& name, const ColumnMask& mask, Sizes sizes, Options options = {},
               int section = 0) {
  set_current("timing " + name);
  Problem problem({&mask}, sizes, options);
  problem.out.randomise(5, sizes.bf16);
  problem.lse.fill(0x40);  // 3.0, about
  Backward backward(problem);
  const sm90::BackwardParams params = backward.params(false, section);
  const double ms = milliseconds(5, 3, [&] { backward.run(params); });
  const sm90::BackwardParams in_order = backward.params(sizes.head_dim <= 128, section);
  const double ordered = milliseconds(5, 3, [&] { backward.run(in_order); });
  const double around = milliseconds(5, 3, [&] {
    LAB_CHECK(sm90::backward_prepare(params));
    LAB_CHECK(sm90::backward_convert(params));
  });
  const double dim = 10.0 * sizes.head_dim;
  const double of_sets = double(sizes.batches) * sizes.heads / mask.heads();
  const TileShape shape = tile_shape(sizes.head_dim);
  const double exact = dim * problem.visible_pairs(),
               tiles = dim * backward.plan.live * of_sets * shape.rows * shape.keys;
  std::printf(
      "%-34s %8.3f ms %5.0f exact %5.0f main %5.0f tile %5.0f deterministic TFLOP/s  around %.3f "
      "ms  live %7.0f partial %4.1f %%\n",
      name.c_str(), ms, exact / ms / 1e9, exact / (ms - around) / 1e9, tiles / ms / 1e9,
      exact / ordered / 1e9, around, backward.plan.live * of_sets,
      100.0 * double(backward.plan.live - backward.plan.full) /
          std::max<double>(backward.plan.live, 1));
  std::fflush(stdout);
}

}  // namespace

void bench_quick() {
  for (const int dim : {128, 64}) {
    const int heads = dim == 64 ? 32 : 16;
    const std::string at = " 8192 d" + std::to_string(dim);
    time_case("full" + at, masks::full(8192, 8192), {4, heads, heads, dim});
    time_case("causal" + at, masks::causal(8192), {4, heads, heads, dim});
    time_case("sliding-window" + at, masks::family("sliding-window", 8192, 1, 1),
              {4, heads, heads, dim});
  }
  time_case("full 8192 d256", masks::full(8192, 8192), {4, 8, 8, 256});
  time_case("causal 8192 d256", masks::causal(8192), {4, 8, 8, 256});
  for (const int section : {0, 4, 8}) {
    time_case("causal 8192 GQA 16:2, section " + std::to_string(section), masks::causal(8192),
              {4, 16, 2}, {}, section);
  }
}

void bench_tiny() {
  time_case("full 8192 d128", masks::full(8192, 8192), {4, 16, 16, 128});
  time_case("full 8192 d64", masks::full(8192, 8192), {4, 32, 32, 64});
  time_case("sliding-window 8192 d128", masks::family("sliding-window", 8192, 1, 1), {4, 16, 16});
}

void bench_dense() {
  for (const int dim : {128, 64}) {
    for (const int length : {1024, 2048, 4096, 8192, 16384, 32768}) {
      const Sizes sizes{32768 / length, dim == 64 ? 32 : 16, dim == 64 ? 32 : 16, dim};
      const std::string at = " " + std::to_string(length) + " d" + std::to_string(dim);
      time_case("full" + at, masks::full(length, length), sizes);
      time_case("causal" + at, masks::causal(length), sizes);
    }
  }
  time_case("full 8192 f16", masks::full(8192, 8192), {4, 16, 16, 128, false});
  time_case("full 8191", masks::full(8191, 8191), {4, 16, 16});
  time_case("causal 8192 GQA 32:8", masks::causal(8192), {4, 32, 8});
  time_case("causal 8192 soft-cap", masks::causal(8192), {4, 16, 16}, {0, 30.0});
  time_case("causal 8192 ALiBi", masks::causal(8192), {4, 16, 16}, {0, 0, false, true});
}

void bench_sections() {
  for (const int length : {8192, 32768}) {
    for (const int section : {2, 4, 16, 32, 64}) {
      const std::string at = " " + std::to_string(length) + " section " + std::to_string(section);
      const Sizes sizes{32768 / length, 16, 16};
      if (length == 8192) time_case("full" + at, masks::full(length, length), sizes, {}, section);
      time_case("causal" + at, masks::causal(length), sizes, {}, section);
    }
  }
}

void bench_families() {
  for (const int length : {8192, 32768}) {
    for (const std::string_view name : masks::family_names()) {
      time_case(std::string(name) + " " + std::to_string(length),
                masks::family(name, length, 16, 1), {32768 / length, 16, 16});
    }
  }
}

}  // namespace lab
