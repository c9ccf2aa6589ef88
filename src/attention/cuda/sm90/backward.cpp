#include "heddle/attention/cuda/sm90/backward.h"

#include <algorithm>

#include "heddle/attention/cuda/sm90/tensor_map.h"

namespace heddle::attention::cuda::sm90 {

namespace {

int64_t query_tiles(const Problem& problem) {
  return (int64_t{problem.mask.query_length} - 1) / backward_tile(problem.head_dim).rows + 1;
}

}  // namespace

BackwardScratchSizes backward_scratch(const BackwardLaunch& launch) {
  const Problem& problem = launch.problem;
  const int64_t tiles = int64_t{problem.batches} * problem.heads * query_tiles(problem);
  const int64_t rows = tiles * backward_tile(problem.head_dim).rows;
  return {rows * padded_head_dim(problem.head_dim), rows * 2, tiles * 2};
}

int32_t backward_section(const BackwardLaunch& launch, int blocks, bool deterministic) {
  constexpr int64_t kBudget = 32 << 20;  // of a usual L2 cache of 50 MB
  const Problem& p = launch.problem;
  const int64_t pairs = int64_t{p.batches} * p.kv_heads, group = p.heads / p.kv_heads;
  // Q, dO and dQ's sums in single precision, of all heads of the group, are read over and over.
  int64_t section = kBudget / (int64_t{p.mask.query_length} * group * p.head_dim * 8 + 1);
  // Few large pairs would leave some blocks with long work at the end of a section.
  if (group > 1) section = std::max(section, int64_t{4} * blocks / launch.by_key.tiles + 1);
  // Key tiles of one pair wait for each other's turns: no more than about eight at a time.
  if (deterministic) section = std::max(section, int64_t{blocks} / 8);
  return static_cast<int32_t>(std::clamp<int64_t>(section, 1, pairs));
}

BackwardParams backward_params(const BackwardLaunch& launch, const BackwardScratch& scratch) {
  const Problem& problem = launch.problem;
  const auto map = [&](const Rows& rows, int64_t tokens, int64_t heads, int box_tokens) {
    return make_tensor_map({rows.data, problem.head_dim, tokens, heads, problem.batches,
                            rows.row_stride, rows.head_stride, rows.batch_stride},
                           box_tokens, !problem.bf16);
  };
  const int64_t queries = problem.mask.query_length, keys = problem.mask.key_length;
  const Tile tile = backward_tile(problem.head_dim);
  BackwardParams params{map(launch.q, queries, problem.heads, tile.rows),
                        map(launch.d_out, queries, problem.heads, tile.rows),
                        map(launch.k, keys, problem.kv_heads, tile.keys),
                        map(launch.v, keys, problem.kv_heads, tile.keys),
                        map(launch.d_k, keys, problem.kv_heads, 64),
                        map(launch.d_v, keys, problem.kv_heads, 64),
                        launch,
                        problem,
                        problem.heads / problem.kv_heads,
                        scratch};
  params.launch.query_tiles = static_cast<int32_t>(query_tiles(problem));
  params.launch.d_q_sum = scratch.d_q_sum;
  params.by_kv_head.heads = problem.kv_heads;
  return params;
}

}  // namespace heddle::attention::cuda::sm90
