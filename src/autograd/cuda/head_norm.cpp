#include "heddle/autograd/cuda/functions.h"
#include "heddle/base/error.h"

namespace heddle::autograd::cuda {

void norm_heads(const Run& run, const Rows& x, const HeadNorms& norms, Rows& y) {
  const Rows input = x;
  const ops::cuda::HeadColumns columns{x.count(), norms.heads, norms.kv_heads, norms.head_width};
  run.result(y);
  HEDDLE_CUDA_CHECK(ops::cuda::launch_norm_heads({.columns = columns,
                                                  .x = input.view(),
                                                  .y = y.view(),
                                                  .query_weight = norms.query_weight,
                                                  .key_weight = norms.key_weight,
                                                  .epsilon = norms.epsilon},
                                                 run.machine.stream()));
  if (run.tape == nullptr) return;
  run.tape->record(y, [&machine = run.machine, input, columns, norms, y](Tape& t) {
    const ops::Workspace::Scope scope(machine.scratch);
    const bool trains = norms.d_query_weight != nullptr || norms.d_key_weight != nullptr;
    float* scratch =
        trains ? machine.scratch.take<float>(ops::cuda::norm_heads_scratch(columns)) : nullptr;
    HEDDLE_CUDA_CHECK(ops::cuda::launch_norm_heads_backward({.columns = columns,
                                                             .x = input.view(),
                                                             .d = t.gradient(y),
                                                             .query_weight = norms.query_weight,
                                                             .key_weight = norms.key_weight,
                                                             .epsilon = norms.epsilon,
                                                             .d_query_weight = norms.d_query_weight,
                                                             .d_key_weight = norms.d_key_weight,
                                                             .scratch = scratch},
                                                            machine.stream()));
    t.pass_on(y, input);
  });
}

}  // namespace heddle::autograd::cuda
