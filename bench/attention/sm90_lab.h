// What the tests and the timing of the Hopper forward share.
#pragma once

#include "heddle/attention/cuda/sm90/forward.h"
#include "heddle/attention/cuda/tiles.h"
#include "lab.h"

namespace lab {

namespace sm90 = heddle::attention::cuda::sm90;

inline TileShape forward_tile(const Sizes& sizes) {
  const auto tile = attention::tile(90, attention::padded_head_dim(sizes.head_dim),
                                    attention::Direction::forward);
  return {tile.rows, tile.keys};
}
inline int multiprocessors() {
  static int count = [] {
    int value = 0;
    LAB_CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
    return value;
  }();
  return count;
}

inline sm90::ForwardParams params_of(const Problem& problem, const Plan& plan, int section = 0) {
  attention::ForwardLaunch launch{};
  launch.problem = problem.common();
  launch.problem.mask = plan.columns;
  if (section > 0) launch.problem.section = section;
  launch.q = problem.q.rows();
  launch.k = problem.k.rows();
  launch.v = problem.v.rows();
  launch.out = problem.out.rows();
  const int64_t rows = problem.q.tokens;
  launch.lse = {problem.lse.as<float>(), problem.sizes.heads * rows, rows};
  launch.by_query = plan.bits;
  return sm90::forward_params(launch, problem.queue.as<sm90::WorkQueue>());
}

inline void launch(sm90::ForwardParams params, int blocks = 0) {
  if (blocks == 0) blocks = multiprocessors();
  const auto& problem = params.launch.problem;
  // As the library does: only what has more work than blocks needs the queue.
  if (problem.batches * problem.heads * params.launch.by_query.tiles <= blocks) {
    params.queue = nullptr;
  }
  const int dim = params.launch.problem.head_dim;
  LAB_CHECK(dim <= 64    ? sm90::forward_64(params, blocks)
            : dim <= 128 ? sm90::forward_128(params, blocks)
                         : sm90::forward_256(params, blocks));
}

/// Groups of timings, in sm90_times.cpp.
void bench_dense();
void bench_families();
void bench_sections();
void bench_quick();

}  // namespace lab
