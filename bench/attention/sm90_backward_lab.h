// What the laboratory of the Hopper backward and its timings share.
#pragma once

#include <algorithm>
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
  const attention::Tile tile = sm90::backward_tile(head_dim);
  return {tile.rows, tile.keys};
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
    const sm90::BackwardScratchSizes sizes = sm90::backward_scratch(launch);
    sums = std::make_unique<Memory>(sizes.d_q_sum * 4, 0xff);
    terms = std::make_unique<Memory>(sizes.row_terms * 4, 0xff);
    const int64_t lists = int64_t{plan.columns.batches} * plan.columns.heads * launch.by_key.tiles;
    turns = std::make_unique<Memory>(lists * ((rows - 1) / launch.by_key.rows + 1) * 2, 0xff);
    LAB_CHECK(heddle::cuda::launch_turns(plan.columns, plan.bits, turns->as<uint16_t>(), nullptr));
    served = std::make_unique<Memory>(sizes.served * 4, 0xff);
  }
  /// `section` 0: as the library has it.
  sm90::BackwardParams params(bool deterministic = false, int section = 0) const {
    attention::BackwardLaunch ours = launch;
    ours.problem.section =
        section > 0 ? section : sm90::backward_section(launch, multiprocessors(), deterministic);
    return sm90::backward_params(
        ours, {sums->as<float>(), terms->as<float>(), problem.queue.as<sm90::WorkQueue>(),
               deterministic ? turns->as<uint16_t>() : nullptr,
               deterministic ? served->as<uint32_t>() : nullptr});
  }
  void run(const sm90::BackwardParams& params, int blocks = 0) const {
    if (blocks == 0) blocks = multiprocessors();
    const int dim = problem.sizes.head_dim;
    LAB_CHECK(dim <= 64    ? sm90::backward_64(params, blocks)
              : dim <= 128 ? sm90::backward_128(params, blocks)
                           : sm90::backward_256(params, blocks));
  }

  Problem& problem;
  Plan plan;
  Operand d_out, d_q, d_k, d_v;
  std::unique_ptr<Memory> sums, terms, turns, served;
  attention::BackwardLaunch launch{};
};

/// Groups of timings, in sm90_backward_times.cpp.
void bench_quick();
void bench_tiny();
void bench_dense();
void bench_sections();
void bench_families();

}  // namespace lab
