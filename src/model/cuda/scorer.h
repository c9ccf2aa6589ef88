// A translation Transformer on a GPU that reads finished translations: what it would have said at
// each of their words. For teachers.
#pragma once

#include <memory>

#include "heddle/autograd/cuda/tape.h"
#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/chooser.h"
#include "heddle/model/cuda/inference.h"
#include "heddle/model/cuda/pass.h"
#include "heddle/model/training.h"

namespace heddle::model::cuda {

class Scorer {
 public:
  /// For batches of up to `rows` target tokens; the model must outlive it.
  Scorer(const InferenceTransformer& model, int64_t rows);

  /// The k best tokens of each target position, [Tt, k]. Waits.
  RankedTokens top(const TrainingBatch& batch, int k);

 private:
  const InferenceTransformer& model_;
  int64_t rows_;
  autograd::cuda::Machine machine_;
  PositionTables tables_;
  Chooser chooser_;
  std::unique_ptr<Staging> staging_;
};

}  // namespace heddle::model::cuda
