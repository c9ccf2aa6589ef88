#include "heddle/model/cuda/output_loss.h"

#include <algorithm>

#include "heddle/autograd/cuda/tape.h"
#include "heddle/model/device_memory.h"
#include "heddle/ops/cuda/launch.h"

namespace heddle::model::cuda {

using ops::cuda::LossTotals;
using ops::cuda::RowLoss;
using ops::cuda::Rows;

void OutputLoss::project(const Taught& taught, const Rows& hidden, ops::cuda::RowsView d_hidden,
                         LossTotals* sums) {
  const ops::Workspace::Scope scope(machine_.scratch);
  auto* losses = machine_.scratch.take<RowLoss>(hidden.count());
  project(taught, hidden, d_hidden, losses);
  HEDDLE_CUDA_CHECK(ops::cuda::launch_sum_losses(losses, hidden.count(), sums, machine_.stream()));
}

void OutputLoss::project(const Taught& taught, const Rows& hidden, ops::cuda::RowsView d_hidden,
                         RowLoss* losses) {
  const ops::Workspace::Scope scope(machine_.scratch);
  const int64_t most = std::min(device_logit_rows(padded_vocabulary()), hidden.count());
  auto* logits = machine_.scratch.take<BFloat16>(most * padded_vocabulary());
  for (int64_t first = 0; first < hidden.count(); first += most) {
    const Rows rows = hidden.range(first, std::min(first + most, hidden.count()));
    machine_.gemm().multiply({.m = rows.count(),
                              .n = padded_vocabulary(),
                              .k = rows.width(),
                              .a = {rows.row(0), rows.stride()},
                              .b = {parameters_.copy(weights_.output_number), rows.width(), true},
                              .c = logits,
                              .c_stride = padded_vocabulary(),
                              .bias = parameters_.copy(weights_.output_bias_number)});
    look_at(taught, first, rows.count(), d_hidden.data != nullptr, logits, losses);
    if (d_hidden.data == nullptr) continue;
    project_back(rows, logits, {d_hidden.data + first * d_hidden.stride, d_hidden.stride});
  }
}

void OutputLoss::look_at(const Taught& taught, int64_t first, int64_t count, bool trains,
                         BFloat16* logits, RowLoss* losses) {
  const LossSettings& settings = taught.settings;
  const int64_t choices = first * taught.teachers;
  HEDDLE_CUDA_CHECK(ops::cuda::launch_cross_entropy(
      {.rows = count,
       .vocabulary = weights_.output.rows(),
       .logits = {logits, padded_vocabulary()},
       .labels = taught.labels + first,
       .weights = taught.weights != nullptr ? taught.weights + first : nullptr,
       .label_smoothing = static_cast<float>(settings.label_smoothing),
       .z_loss = static_cast<float>(settings.z_loss),
       .gradient_scale = static_cast<float>(settings.gradient_scale),
       .teacher_weight = taught.teachers > 0 ? static_cast<float>(settings.teacher_weight) : 0.0f,
       .teacher_ids = taught.teacher_ids + choices,
       .teacher_log_probabilities = taught.teacher_log_probabilities + choices,
       .teacher_count = taught.teachers,
       .wants_gradient = trains,
       .losses = losses + first},
      machine_.stream()));
}

void OutputLoss::project_back(const Rows& rows, const BFloat16* d_logits,
                              ops::cuda::RowsView d_rows) {
  const int64_t padded = padded_vocabulary(), width = rows.width();
  machine_.gemm().multiply({.m = rows.count(),
                            .n = width,
                            .k = padded,
                            .a = {d_logits, padded},
                            .b = {parameters_.copy(weights_.output_number), width},
                            .c = d_rows.data,
                            .c_stride = d_rows.stride});
  if (float* d_table = parameters_.gradient(weights_.output_number)) {
    machine_.gemm().multiply({.m = padded,
                              .n = width,
                              .k = rows.count(),
                              .a = {d_logits, padded, true},
                              .b = {rows.row(0), rows.stride()},
                              .c = d_table,
                              .c_stride = width,
                              .single = true,
                              .beta = 1});
  }
  float* d_bias = parameters_.gradient(weights_.output_bias_number);
  if (d_bias == nullptr) return;
  const ops::Workspace::Scope scope(machine_.scratch);
  const ops::cuda::Extent extent{rows.count(), padded};
  HEDDLE_CUDA_CHECK(ops::cuda::launch_column_sums(
      {.extent = extent,
       .x = {const_cast<BFloat16*>(d_logits), padded},
       .factor = 1,
       .sums = d_bias,
       .scratch = machine_.scratch.take<float>(ops::cuda::column_sums_scratch(extent))},
      machine_.stream()));
}

}  // namespace heddle::model::cuda
