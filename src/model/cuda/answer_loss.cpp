#include "heddle/model/cuda/answer_loss.h"

#include <algorithm>
#include <cstring>

namespace heddle::model::cuda {

using ops::cuda::RowLoss;
using ops::cuda::Rows;
using ops::cuda::RowsView;

Tensor Exchange::hosts_part(int64_t bytes) {
  if (!memory_.defined() || memory_.elements() < bytes) {
    memory_ = Tensor::empty({2 * bytes}, DType::i8, heddle::cuda::pinned_allocator());
  }
  return memory_.slice(0, 0, bytes);
}

Tensor Exchange::gpus_part(void* at, int64_t bytes) const {
  return Tensor::wrap(at, {bytes}, {1}, DType::i8, machine_.context().device());
}

void Exchange::read_bytes(const void* from, std::span<std::byte> values) {
  if (values.empty()) return;
  const Tensor here = hosts_part(std::ssize(values));
  heddle::cuda::copy(gpus_part(const_cast<void*>(from), std::ssize(values)), here,
                     machine_.stream());
  machine_.context().synchronize();
  std::memcpy(values.data(), here.raw(), values.size());
}

void Exchange::write_bytes(std::span<const std::byte> values, void* to) {
  if (values.empty()) return;
  const Tensor here = hosts_part(std::ssize(values));
  std::memcpy(here.raw(), values.data(), values.size());
  heddle::cuda::copy(here, gpus_part(to, std::ssize(values)), machine_.stream());
}

Rows DeviceAnswerLoss::take_rows(int64_t count, int64_t width) {
  return {machine_.scratch.take<BFloat16>(count * width), count, width, nullptr};
}

LossSums DeviceAnswerLoss::run(const AnsweredBatch& of, const Rows& hidden, RowsView d_hidden) {
  const ops::Workspace::Scope scope(machine_.scratch);
  const Rows rows = take_rows(of.placed.label_count(), hidden.width());  // [L, D]
  HEDDLE_CUDA_CHECK(ops::cuda::launch_embed({.extent = rows.extent(),
                                             .tokens = of.placed.label_places(),
                                             .table = hidden.row(0),
                                             .scale = 1,
                                             .positions = nullptr,
                                             .of_row = nullptr,
                                             .dropout = {},
                                             .y = rows.view()},
                                            machine_.stream()));
  return weights_.config.scores ? of_scores(of, rows, d_hidden)
                                : of_log_probabilities(of, rows, d_hidden);
}

void DeviceAnswerLoss::scatter(const AnsweredBatch& of, const Rows& d_rows, const float* factors,
                               RowsView d_hidden) {
  HEDDLE_CUDA_CHECK(
      ops::cuda::launch_sum_rows({.extent = {std::ssize(of.batch.pair.targets), d_rows.width()},
                                  .order = of.placed.answer_order(),
                                  .starts = of.placed.answer_starts(),
                                  .factors = factors,
                                  .x = d_rows.view(),
                                  .y = d_hidden},
                                 machine_.stream()));
}

LossSums DeviceAnswerLoss::of_scores(const AnsweredBatch& of, const Rows& last, RowsView d_hidden) {
  const int64_t padded = output_.padded_vocabulary();                  // 1, and zeros
  auto* scores = machine_.scratch.take<float>(last.count() * padded);  // [A, padded]
  machine_.gemm().multiply({.m = last.count(),
                            .n = padded,
                            .k = last.width(),
                            .a = {last.row(0), last.stride()},
                            .b = {parameters_.copy(weights_.output_number), last.width(), true},
                            .c = scores,
                            .c_stride = padded,
                            .single = true});
  const std::vector<float> found = exchange_.read(scores, last.count() * padded);
  std::vector<AnswerValue> values;  // [A]
  for (size_t at = 0; at < found.size(); at += static_cast<size_t>(padded)) {
    values.push_back({.value = static_cast<double>(found[at]), .tokens = 1, .mean_logit = 0});
  }
  LossSums sums;
  sums.tokens = std::ssize(of.batch.pair.targets);
  const std::vector<double> slopes = answer_slopes(of.batch, values, sums);
  if (d_hidden.data == nullptr) return sums;
  std::vector<BFloat16> d_scores(found.size());  // [A, padded]
  for (size_t a = 0; a < slopes.size(); ++a) {
    d_scores[a * static_cast<size_t>(padded)] =
        BFloat16(static_cast<float>(of.gradient_scale * slopes[a]));
  }
  const Rows d_last = take_rows(last.count(), last.width());
  output_.project_back(last, exchange_.write<BFloat16>(d_scores), d_last.view());
  scatter(of, d_last, nullptr, d_hidden);
  return sums;
}

LossSums DeviceAnswerLoss::of_log_probabilities(const AnsweredBatch& of, const Rows& rows,
                                                RowsView d_hidden) {
  const bool trains = d_hidden.data != nullptr;
  // A projection that is not trained needs no second look: what goes back is linear in the slopes.
  const bool once = trains && parameters_.gradient(weights_.output_number) == nullptr;
  const LossSettings plain;
  Taught taught{.labels = of.placed.labels(),
                .weights = nullptr,
                .teacher_ids = nullptr,
                .teacher_log_probabilities = nullptr,
                .teachers = 0,
                .settings = plain};
  auto* losses = machine_.scratch.take<RowLoss>(rows.count());             // [L]
  const Rows d_rows = take_rows(trains ? rows.count() : 0, rows.width());  // [L, D]
  output_.project(taught, rows, once ? d_rows.view() : RowsView{nullptr, 0}, losses);

  LossSums sums;
  std::vector<double> nll, mean_logits;  // [L]
  for (const RowLoss& row : exchange_.read(losses, rows.count())) {
    nll.push_back(static_cast<double>(row.nll));
    mean_logits.push_back(static_cast<double>(row.mean_logit));
    sums.tokens += row.weight != 0 ? 1 : 0;
    sums.correct += row.correct;
  }
  const AnswerRows& answers = *of.placed.answers();
  const std::vector<AnswerValue> values = answer_values(answers, nll, mean_logits);
  const std::vector<double> slopes = answer_slopes(of.batch, values, sums);
  if (!trains) return sums;

  std::vector<float> factors(nll.size());  // [L]
  for (size_t a = 0; a < slopes.size(); ++a) {
    const auto begin = answers.offsets()[a], end = answers.offsets()[a + 1];
    std::fill(factors.begin() + begin, factors.begin() + end,
              static_cast<float>(-of.gradient_scale * slopes[a]));
  }
  const float* on_gpu = exchange_.write<float>(factors);
  if (!once) {
    taught.weights = on_gpu;
    output_.project(taught, rows, d_rows.view(), losses);
  }
  scatter(of, d_rows, once ? on_gpu : nullptr, d_hidden);
  return sums;
}

}  // namespace heddle::model::cuda
