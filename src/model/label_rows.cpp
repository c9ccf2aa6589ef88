#include "heddle/model/label_rows.h"

#include <algorithm>

namespace heddle::model {

LabelRows::LabelRows(const TrainingBatch& batch) : all_(batch.labels.size()) {
  const auto choices = static_cast<size_t>(batch.teacher.count);
  for (size_t t = 0; t < all_; ++t) {
    if (batch.labels[t] < 0) continue;
    places_.push_back(t);
    labels_.push_back(batch.labels[t]);
    if (!batch.weights.empty()) weights_.push_back(batch.weights[t]);
    for (size_t k = t * choices; k < (t + 1) * choices; ++k) {
      teacher_ids_.push_back(batch.teacher.ids[k]);
      teacher_logs_.push_back(batch.teacher.log_probabilities[k]);
    }
  }
  batch_ = {.pair = {},
            .labels = labels_,
            .weights = weights_,
            .teacher = {teacher_ids_, teacher_logs_, batch.teacher.count}};
}

ops::Rows LabelRows::gathered(const ops::Rows& hidden, ops::Workspace& workspace) const {
  ops::Rows rows(static_cast<int64_t>(places_.size()), hidden.width(), workspace);
  for (size_t i = 0; i < places_.size(); ++i) {
    std::copy_n(hidden.row(static_cast<int64_t>(places_[i])), hidden.width(),
                rows.row(static_cast<int64_t>(i)));
  }
  return rows;
}

void LabelRows::scatter(ops::PlainRows from, int64_t width, ops::PlainRows to) const {
  size_t next = 0;
  for (size_t t = 0; t < all_; ++t) {
    float* row = to.row(static_cast<int64_t>(t));
    if (next < places_.size() && places_[next] == t) {
      std::copy_n(from.row(static_cast<int64_t>(next++)), width, row);
    } else {
      std::fill_n(row, width, 0.0f);
    }
  }
}

}  // namespace heddle::model
