#include "heddle/attention/cuda/sm90/forward.h"

#include "heddle/attention/cuda/sm90/tensor_map.h"
#include "heddle/attention/cuda/tiles.h"
#include "heddle/base/error.h"

namespace heddle::attention::cuda::sm90 {

ForwardParams forward_params(const ForwardLaunch& launch, WorkQueue* queue) {
  const Problem& problem = launch.problem;
  const auto map = [&](const Rows& rows, int64_t tokens, int64_t heads, int box_tokens) {
    return make_tensor_map({rows.data, problem.head_dim, tokens, heads, problem.batches,
                            rows.row_stride, rows.head_stride, rows.batch_stride},
                           box_tokens, !problem.bf16);
  };
  const int box_keys = tile(90, padded_head_dim(problem.head_dim), Direction::forward).keys;
  const int64_t queries = problem.mask.query_length, keys = problem.mask.key_length;
  return {map(launch.q, queries, problem.heads, 64),
          map(launch.k, keys, problem.kv_heads, box_keys),
          map(launch.v, keys, problem.kv_heads, box_keys),
          map(launch.out, queries, problem.heads, 64),
          launch,
          queue};
}

}  // namespace heddle::attention::cuda::sm90
