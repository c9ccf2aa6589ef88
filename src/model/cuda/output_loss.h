// The loss of a model's output on a GPU: logits of some rows at a time, which become their own
// gradients. [T, V] is never there.
#pragma once

#include "heddle/model/cuda/parameters.h"
#include "heddle/model/training.h"
#include "heddle/model/weights.h"

namespace heddle::model::cuda {

/// What rows are to say; pointers to the GPU.
struct Taught {
  const int32_t* labels;       ///< [R]
  const float* weights;        ///< [R] or null
  const int32_t* teacher_ids;  ///< [R, k]
  const float* teacher_log_probabilities;
  int32_t teachers;  ///< k
  const LossSettings& settings;
};

class OutputLoss {
 public:
  OutputLoss(const Weights& weights, const DeviceParameters& parameters,
             autograd::cuda::Machine& machine)
      : weights_(weights), parameters_(parameters), machine_(machine) {}

  /// Adds the loss of hidden [R, D] to the sums. Its gradient is written to d_hidden, and that of
  /// the output's table added to the parameters', unless d_hidden has none.
  void project(const Taught& taught, const ops::cuda::Rows& hidden, ops::cuda::RowsView d_hidden,
               ops::cuda::LossTotals* sums);

  /// The same with the losses [R] of the rows by themselves.
  void project(const Taught& taught, const ops::cuda::Rows& hidden, ops::cuda::RowsView d_hidden,
               ops::cuda::RowLoss* losses);

  /// d_rows [R, D] = d_logits [R, padded V] · table; adds to the gradient of the table, if any.
  void project_back(const ops::cuda::Rows& rows, const BFloat16* d_logits,
                    ops::cuda::RowsView d_rows);

  /// Columns of logits: those behind the vocabulary are zeros.
  int64_t padded_vocabulary() const { return DeviceParameters::padded(weights_.output.rows()); }

 private:
  /// Losses of `count` rows from `first` on; their logits become gradients.
  void look_at(const Taught& taught, int64_t first, int64_t count, bool trains, BFloat16* logits,
               ops::cuda::RowLoss* losses);

  const Weights& weights_;
  const DeviceParameters& parameters_;
  autograd::cuda::Machine& machine_;
};

}  // namespace heddle::model::cuda
