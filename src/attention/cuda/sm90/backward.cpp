#include "heddle/attention/cuda/sm90/backward.h"

#include "heddle/attention/cuda/sm90/tensor_map.h"

namespace heddle::attention::cuda::sm90 {

namespace {

int64_t query_tiles(const Problem& problem) {
  const int rows = backward_rows(problem.head_dim);
  return (int64_t{problem.mask.query_length} - 1) / rows + 1;
}

}  // namespace

BackwardScratch backward_scratch(const Problem& problem) {
  const int64_t rows = int64_t{problem.batches} * problem.heads * query_tiles(problem) *
                       backward_rows(problem.head_dim);
  return {rows * (problem.head_dim <= 64 ? 64 : 128), rows * 2};
}

BackwardParams backward_params(const BackwardLaunch& launch, float* row_terms, WorkQueue* queue) {
  const Problem& problem = launch.problem;
  const auto map = [&](const Rows& rows, int64_t tokens, int64_t heads, int box_tokens) {
    return make_tensor_map({rows.data, problem.head_dim, tokens, heads, problem.batches,
                            rows.row_stride, rows.head_stride, rows.batch_stride},
                           box_tokens, !problem.bf16);
  };
  const int64_t queries = problem.mask.query_length, keys = problem.mask.key_length;
  const int rows = backward_rows(problem.head_dim);
  BackwardParams params{map(launch.q, queries, problem.heads, rows),
                        map(launch.d_out, queries, problem.heads, rows),
                        map(launch.k, keys, problem.kv_heads, kBackwardKeys),
                        map(launch.v, keys, problem.kv_heads, kBackwardKeys),
                        map(launch.d_k, keys, problem.kv_heads, 64),
                        map(launch.d_v, keys, problem.kv_heads, 64),
                        launch,
                        problem,
                        row_terms,
                        queue};
  params.launch.query_tiles = static_cast<int32_t>(query_tiles(problem));
  params.by_kv_head.heads = problem.kv_heads;
  return params;
}

}  // namespace heddle::attention::cuda::sm90
