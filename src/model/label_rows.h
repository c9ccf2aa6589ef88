// The rows of a language model that have a label, side by side: most of a conversation has none,
// and needs no logits.
#pragma once

#include <span>
#include <vector>

#include "heddle/model/training.h"
#include "heddle/ops/rows.h"

namespace heddle::model {

class LabelRows {
 public:
  explicit LabelRows(const TrainingBatch& batch);

  /// [L] of them, as a batch of their own; the teacher's choices too.
  const TrainingBatch& batch() const { return batch_; }

  /// Which rows they are, rising; [L].
  std::span<const size_t> places() const { return places_; }

  /// Rows of hidden [T, D] → [L, D], in the workspace.
  ops::Rows gathered(const ops::Rows& hidden, ops::Workspace& workspace) const;

  /// Rows of [L, D] → [T, D], zeros where there is no label.
  void scatter(ops::PlainRows from, int64_t width, ops::PlainRows to) const;

 private:
  size_t all_;
  std::vector<size_t> places_;  // [L]
  std::vector<int32_t> labels_, teacher_ids_;
  std::vector<float> weights_, teacher_logs_;
  TrainingBatch batch_;
};

}  // namespace heddle::model
