// Timing of the Hopper forward: dense problems, the mask families, sections of the L2 cache.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "heddle/mask/builders.h"
#include "heddle/mask/families.h"
#include "sm90_lab.h"

namespace lab {

namespace masks = heddle::masks;

namespace {

double milliseconds(const sm90::ForwardParams& params) {
  for (int i = 0; i < 3; ++i) launch(params);
  wait_for_gpu();
  cudaEvent_t begin, end;
  LAB_CHECK(cudaEventCreate(&begin));
  LAB_CHECK(cudaEventCreate(&end));
  std::vector<float> times;
  for (int round = 0; round < 5; ++round) {
    constexpr int kRuns = 10;
    LAB_CHECK(cudaEventRecord(begin));
    for (int i = 0; i < kRuns; ++i) launch(params);
    LAB_CHECK(cudaEventRecord(end));
    wait_for_gpu();
    float time = 0;
    LAB_CHECK(cudaEventElapsedTime(&time, begin, end));
    times.push_back(time / kRuns);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void time_case(const std::string& name, const ColumnMask& mask, Sizes sizes, Options options = {},
               int section = 0) {
  set_current("timing " + name);
  Problem problem({&mask}, sizes, options);
  const TileShape tile = forward_tile(sizes);
  const Plan plan({&mask}, tile, true);
  const double ms = milliseconds(params_of(problem, plan, section));
  const double dim = 4.0 * sizes.head_dim;
  const double of_sets = double(sizes.batches) * sizes.heads / mask.heads();
  const double exact = dim * problem.visible_pairs(),
               tiles = dim * plan.live * of_sets * tile.rows * tile.keys;
  std::printf("%-34s %8.3f ms %6.0f exact %6.0f tile TFLOP/s  live %7.0f  partial %4.1f %%  %s\n",
              name.c_str(), ms, exact / ms / 1e9, tiles / ms / 1e9, plan.live * of_sets,
              100.0 * double(plan.live - plan.full) / std::max<double>(plan.live, 1), "");
  std::fflush(stdout);
}

}  // namespace

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
  time_case("causal 8192 GQA 16:2", masks::causal(8192), {4, 16, 2});
  time_case("causal 8192 GQA 32:8", masks::causal(8192), {4, 32, 8});
  time_case("causal 8192 soft-cap", masks::causal(8192), {4, 16, 16}, {0, 30.0});
  time_case("causal 8192 ALiBi", masks::causal(8192), {4, 16, 16}, {0, 0, false, true});
  time_case("causal 8192 sinks", masks::causal(8192), {4, 16, 16}, {0, 0, true});
}

void bench_sections() {
  for (const int length : {8192, 32768}) {
    for (const int section : {1, 2, 4, 8, 16, 64}) {
      const std::string at = " " + std::to_string(length) + " section " + std::to_string(section);
      const Sizes sizes{32768 / length, 16, 16};
      time_case("full" + at, masks::full(length, length), sizes, {}, section);
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
    const int window = std::max(256, length / 32);
    time_case("window " + std::to_string(window) + " of " + std::to_string(length),
              masks::sliding_window(length, window), {32768 / length, 16, 16});
  }
  const ColumnMask eviction = masks::family("random-eviction", 8192, 1, 1);
  time_case("random-eviction, one mask head", eviction, {4, 16, 16});
}

/// The few cases that tell variants of a kernel apart.
void bench_quick() {
  const ColumnMask full = masks::full(8192, 8192), causal = masks::causal(8192);
  for (const int section : {0, 1, 2}) {
    time_case("full 8192 section " + std::to_string(section), full, {4, 16, 16}, {}, section);
  }
  time_case("causal 8192", causal, {4, 16, 16});
  time_case("full 8192 f16", full, {4, 16, 16, 128, false});
  time_case("random-eviction 8192", masks::family("random-eviction", 8192, 16, 1), {4, 16, 16});
  time_case("window 256 of 8192", masks::sliding_window(8192, 256), {4, 16, 16});
  time_case("full 8192 d64", full, {4, 32, 32, 64});
  time_case("causal 8192 d64", causal, {4, 32, 32, 64});
  time_case("full 8192 d256", full, {4, 8, 8, 256});
  time_case("causal 8192 d256", causal, {4, 8, 8, 256});
  time_case("causal 8192 soft-cap", causal, {4, 16, 16}, {0, 30.0});
  time_case("causal 8192 ALiBi", causal, {4, 16, 16}, {0, 0, false, true});
  time_case("causal 8192 sinks", causal, {4, 16, 16}, {0, 0, true});
}

}  // namespace lab
