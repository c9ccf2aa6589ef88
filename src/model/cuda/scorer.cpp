#include "heddle/model/cuda/scorer.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/cuda/forward.h"

namespace heddle::model::cuda {

Scorer::Scorer(const InferenceTransformer& model, int64_t rows)
    : model_(model),
      rows_(rows),
      machine_(model.device()),
      tables_(model.weights(), model.parameters(), machine_.context()),
      chooser_(model, rows, model.output_bias(), machine_.context()),
      staging_(std::make_unique<Staging>()) {}

RankedTokens Scorer::top(const TrainingBatch& batch, int k) {
  check_batch(batch, {}, model_.config());
  const int64_t count = std::ssize(batch.pair.targets);
  HEDDLE_CHECK(count <= rows_, "scorer: found ", count, " target tokens; expected at most ", rows_);
  LaidOutBatch laid_out(batch, {}, std::move(staging_));
  const ops::Workspace::Scope values(machine_.values), host(machine_.host);
  DeviceBatch placed(laid_out, machine_);
  tables_.extend(std::max(placed.source().longest, placed.target().longest));
  Pass pass({model_.weights(), model_.parameters(), tables_, &placed, machine_}, {}, nullptr);
  DeviceForward forward(placed, model_.config());
  const ops::cuda::Rows hidden = forward.run(pass, 0);  // [Tt, D]
  RankedTokens best = chooser_.top(hidden.row(0), count, k, {}, machine_.gemm());
  staging_ = laid_out.release();
  return best;
}

}  // namespace heddle::model::cuda
