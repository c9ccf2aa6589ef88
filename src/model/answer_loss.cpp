#include "heddle/model/answer_loss.h"

#include <vector>

#include "heddle/ops/linear.h"

namespace heddle::model {

namespace {

constexpr int64_t kAnswerRows = 64;  // of logits at once

void scale(ops::PlainRows rows, int64_t row, int64_t width, double factor) {
  float* values = rows.row(row);
  for (int64_t i = 0; i < width; ++i) values[i] *= static_cast<float>(factor);
}

LossSums score_loss(const AnswerOutput& of, ops::Rows& hidden,
                    const ops::CrossEntropyGradients* out, ops::Workspace& workspace) {
  const TrainingBatch& batch = of.batch;
  const AnswerRows answers(batch.pair.groups, batch.pair.targets, batch.labels,
                           AnswerRows::Of::last_tokens);
  ops::Rows last = answers.gathered(hidden, workspace);  // [A, D]
  ops::Rows scores(answers.count(), 1, workspace);       // [A, 1]
  ops::linear(last, of.output, {}, scores, workspace);
  std::vector<AnswerValue> values;
  for (int64_t i = 0; i < answers.count(); ++i) values.push_back({*scores.row(i), 1, 0});
  LossSums sums;
  sums.tokens = std::ssize(batch.pair.targets);
  const std::vector<double> slopes = answer_slopes(batch, values, sums);
  if (out == nullptr) return sums;
  for (int64_t i = 0; i < answers.count(); ++i) {
    *scores.row(i) = static_cast<float>(of.gradient_scale * slopes[static_cast<size_t>(i)]);
  }
  const ops::PlainRows d_last{workspace.take<float>(last.count() * last.width()), last.width()};
  ops::linear_backward(last, {&out->weight, 1},
                       {.d_y = {scores.row(0), scores.stride()}, .d_x = d_last, .adds = false},
                       workspace);
  answers.scatter(d_last, last.width(), out->d_x);
  return sums;
}

LossSums log_probability_loss(const AnswerOutput& of, ops::Rows& hidden,
                              const ops::CrossEntropyGradients* out, ops::Workspace& workspace) {
  const TrainingBatch& batch = of.batch;
  const AnswerRows answers(batch.pair.groups, batch.pair.targets, batch.labels,
                           AnswerRows::Of::learned_tokens);
  ops::Rows rows = answers.gathered(hidden, workspace);  // [L, D]
  const auto count = static_cast<size_t>(rows.count());
  std::vector<double> nll(count), mean_logits(count);  // [L]
  ops::CrossEntropy loss{.labels = answers.labels(),
                         .gradient_scale = of.gradient_scale,
                         .least_rows = kAnswerRows,
                         .row_nll = nll,
                         .row_mean_logit = mean_logits};
  // A projection that is not trained needs no second look: what goes back is linear in the slopes.
  const bool once = out != nullptr && out->weight.d_values == nullptr;
  ops::CrossEntropyGradients back;
  if (out != nullptr) {
    back = {.weight = out->weight,
            .d_x = {workspace.take<float>(rows.count() * rows.width()), rows.width()}};
  }
  const ops::CrossEntropySums of_tokens =
      ops::cross_entropy(rows, of.output, nullptr, loss, once ? &back : nullptr, workspace);

  const std::vector<AnswerValue> values = answer_values(answers, nll, mean_logits);  // [A]
  LossSums sums;
  sums.tokens = of_tokens.tokens;
  sums.correct = of_tokens.correct;
  const std::vector<double> slopes = answer_slopes(batch, values, sums);
  if (out == nullptr) return sums;

  std::vector<float> weights(count);  // [L]
  for (size_t a = 0; a < values.size(); ++a) {
    for (auto i = answers.offsets()[a]; i < answers.offsets()[a + 1]; ++i) {
      weights[static_cast<size_t>(i)] = static_cast<float>(-slopes[a]);
      if (once) scale(back.d_x, i, rows.width(), -slopes[a]);
    }
  }
  if (!once) {
    loss.weights = weights;
    loss.row_nll = loss.row_mean_logit = {};
    ops::cross_entropy(rows, of.output, nullptr, loss, &back, workspace);
  }
  answers.scatter(back.d_x, rows.width(), out->d_x);
  return sums;
}

}  // namespace

std::vector<AnswerValue> answer_values(const AnswerRows& rows, std::span<const double> nll,
                                       std::span<const double> mean_logits) {
  std::vector<AnswerValue> values(rows.offsets().size() - 1);  // [A]
  for (size_t a = 0; a < values.size(); ++a) {
    const auto begin = static_cast<size_t>(rows.offsets()[a]),
               end = static_cast<size_t>(rows.offsets()[a + 1]);
    values[a].tokens = static_cast<int64_t>(end - begin);
    for (size_t i = begin; i < end; ++i) {
      values[a].value -= nll[i];
      values[a].mean_logit += mean_logits[i] / static_cast<double>(end - begin);
    }
  }
  return values;
}

std::vector<double> answer_slopes(const TrainingBatch& batch, std::span<const AnswerValue> values,
                                  LossSums& sums) {
  std::vector<double> slopes(values.size(), 0.0);  // [A]
  size_t first = 0;
  for (size_t g = 0; g < batch.pair.groups.size(); ++g) {
    const size_t count = batch.pair.groups[g].answers.size();
    batch.answers->add(batch.first_group + g, values.subspan(first, count),
                       std::span(slopes).subspan(first, count), sums);
    first += count;
  }
  return slopes;
}

LossSums answer_loss(const AnswerOutput& of, ops::Rows& hidden,
                     const ops::CrossEntropyGradients* out, ops::Workspace& workspace) {
  const ops::Workspace::Scope scope(workspace);
  return of.scores ? score_loss(of, hidden, out, workspace)
                   : log_probability_loss(of, hidden, out, workspace);
}

}  // namespace heddle::model
