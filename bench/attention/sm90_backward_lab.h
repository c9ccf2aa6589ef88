// What the laboratory of the Hopper backward and its timings share.
#pragma once

#include <memory>
#include <vector>

#include "heddle/attention/cuda/sm90/backward.h"
#include "lab.h"

namespace lab {

namespace sm90 = heddle::attention::cuda::sm90;

inline int multiprocessors() {
  static const int count = [] {
    int value = 0;
    LAB_CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
    return value;
  }();
  return count;
}

inline TileShape tile_shape(int head_dim) {
  return {sm90::backward_rows(head_dim), sm90::kBackwardKeys};
}

/// What backward needs beside a Problem, and what it writes.
struct Backward {
  explicit Backward(Problem& problem)
      : problem(problem),
        plan(problem.masks, tile_shape(problem.sizes.head_dim), false),
        d_out(problem.sizes.batches, problem.q.tokens, problem.sizes.heads, problem.sizes.head_dim),
        d_q(problem.sizes.batches, problem.q.tokens, problem.sizes.heads, problem.sizes.head_dim),
        d_k(problem.sizes.batches, problem.k.tokens, problem.sizes.kv_heads,
            problem.sizes.head_dim),
        d_v(problem.sizes.batches, problem.k.tokens, problem.sizes.kv_heads,
            problem.sizes.head_dim) {
    d_out.randomise(4, problem.sizes.bf16);
    launch.problem = problem.common();
    launch.problem.mask = plan.columns;
    const int64_t bytes = problem.q.tokens * problem.sizes.head_dim * 8 *
                          (problem.sizes.heads / problem.sizes.kv_heads);  // Q, dO, dQ's sums
    launch.problem.section = static_cast<int32_t>(std::clamp<int64_t>(
        (32 << 20) / bytes, 1, int64_t{problem.sizes.batches} * problem.sizes.kv_heads));
    launch.q = problem.q.rows();
    launch.k = problem.k.rows();
    launch.v = problem.v.rows();
    launch.out = problem.out.rows();
    launch.d_out = d_out.rows();
    launch.d_q = d_q.rows();
    launch.d_k = d_k.rows();
    launch.d_v = d_v.rows();
    const int64_t rows = problem.q.tokens;
    launch.lse = {problem.lse.as<float>(), problem.sizes.heads * rows, rows};
    launch.by_key = plan.bits;
    const sm90::BackwardScratch scratch = sm90::backward_scratch(launch.problem);
    sums = std::make_unique<Memory>(scratch.d_q_sum * 4, 0xff);
    terms = std::make_unique<Memory>(scratch.row_terms * 4, 0xff);
    launch.d_q_sum = sums->as<float>();
  }
  sm90::BackwardParams params() const {
    return sm90::backward_params(launch, terms->as<float>(), problem.queue.as<sm90::WorkQueue>());
  }
  void run(const sm90::BackwardParams& params, int blocks = 0) const {
    if (blocks == 0) blocks = multiprocessors();
    LAB_CHECK(problem.sizes.head_dim <= 64 ? sm90::backward_64(params, blocks)
                                           : sm90::backward_128(params, blocks));
  }

  Problem& problem;
  Plan plan;
  Operand d_out, d_q, d_k, d_v;
  std::unique_ptr<Memory> sums, terms;
  attention::BackwardLaunch launch{};
};

/// Groups of timings, in sm90_backward_times.cpp.
void bench_quick();
void bench_tiny();
void bench_dense();
void bench_sections();
void bench_families();

}  // namespace lab
