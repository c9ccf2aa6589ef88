#include "heddle/train/preference_loss.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"

namespace heddle::train {

namespace {

constexpr std::array<std::pair<std::string_view, DpoLossType>, 5> kLossTypes{
    {{"sigmoid", DpoLossType::sigmoid},
     {"sigmoid_norm", DpoLossType::sigmoid_norm},
     {"robust", DpoLossType::robust},
     {"ipo", DpoLossType::ipo},
     {"hinge", DpoLossType::hinge}}};

double log_sigmoid(double x) {
  return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x));
}
double sigmoid(double x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}

/// A loss of Δ and its slope.
std::pair<double, double> loss_of(const DpoSettings& settings, double delta) {
  const double beta = settings.beta, smoothing = settings.label_smoothing, x = beta * delta;
  switch (settings.loss_type) {
    case DpoLossType::sigmoid:
    case DpoLossType::sigmoid_norm:
      return {-(1 - smoothing) * log_sigmoid(x) - smoothing * log_sigmoid(-x),
              beta * (smoothing * sigmoid(x) - (1 - smoothing) * sigmoid(-x))};
    case DpoLossType::robust: {
      const double share = 1 / (1 - 2 * smoothing);
      return {share * (-(1 - smoothing) * log_sigmoid(x) + smoothing * log_sigmoid(-x)),
              -share * beta * ((1 - smoothing) * sigmoid(-x) + smoothing * sigmoid(x))};
    }
    case DpoLossType::ipo: {
      const double gap = delta - 1 / (2 * beta);
      return {gap * gap, 2 * gap};
    }
    case DpoLossType::hinge:
      return {std::max(0.0, 1 - x), x < 1 ? -beta : 0.0};
  }
  return {};
}

bool is_normalised(DpoLossType type) {
  return type == DpoLossType::sigmoid_norm || type == DpoLossType::ipo;
}

std::vector<size_t> first_answers(const data::PackedBatch& batch) {
  std::vector<size_t> first{0};
  for (const data::PreferenceGroup& group : batch.groups) {
    first.push_back(first.back() + group.answers.size());
  }
  return first;
}

/// body(better, worse, share) for each pair of answers with different scores.
template <typename F>
void for_each_pair(const data::PreferenceGroup& group, const F& body) {
  const std::vector<float>& scores = group.scores;
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (size_t j = 0; j < scores.size(); ++j) {
      if (scores[i] > scores[j]) pairs.emplace_back(i, j);
    }
  }
  for (const auto& [better, worse] : pairs) {
    body(better, worse, 1 / static_cast<double>(pairs.size()));
  }
}

void add_loss(double share, double loss, model::LossSums& sums) {
  sums.loss += share * loss;
  sums.nll += share * loss;  // validations judge by it
  sums.weight += share;
}

}  // namespace

DpoLossType dpo_loss_type(std::string_view name) {
  for (const auto& [word, type] : kLossTypes) {
    if (word == name) return type;
  }
  detail::throw_error(str("loss_type: found ", io::quoted(name),
                          "; expected sigmoid, sigmoid_norm, robust, ipo or hinge"));
}

void DpoSettings::check() const {
  HEDDLE_CHECK(std::isfinite(beta) && beta > 0, "beta: found ", beta,
               "; expected a number above 0, such as 0.1");
  const bool robust = loss_type == DpoLossType::robust;
  HEDDLE_CHECK(label_smoothing >= 0 && label_smoothing < (robust ? 0.5 : 1),
               "label_smoothing: found ", label_smoothing, "; expected 0 or more, below ",
               robust ? "0.5 with loss_type robust" : "1");
  const bool smooths =
      robust || loss_type == DpoLossType::sigmoid || loss_type == DpoLossType::sigmoid_norm;
  HEDDLE_CHECK(smooths || label_smoothing == 0, "label_smoothing: found ", label_smoothing,
               " with a loss_type without it; expected sigmoid, sigmoid_norm or robust");
  HEDDLE_CHECK(std::isfinite(rpo_alpha) && rpo_alpha >= 0, "rpo_alpha: found ", rpo_alpha,
               "; expected 0 or more");
}

void RewardSettings::check() const {
  HEDDLE_CHECK(std::isfinite(center_rewards_coefficient) && center_rewards_coefficient >= 0,
               "center_rewards_coefficient: found ", center_rewards_coefficient,
               "; expected 0 or more, such as 0.01");
}

PairSlopes dpo_loss(const DpoSettings& settings, const ReferredValue& chosen,
                    const ReferredValue& rejected) {
  const bool normalised = is_normalised(settings.loss_type);
  const auto share = [normalised](const ReferredValue& of) {
    return normalised ? 1 / static_cast<double>(of.answer.tokens) : 1.0;
  };
  const double delta = share(chosen) * (chosen.answer.value - chosen.reference) -
                       share(rejected) * (rejected.answer.value - rejected.reference);
  const auto [loss, slope] = loss_of(settings, delta);
  PairSlopes made{loss, slope * share(chosen), -slope * share(rejected)};
  const double alpha = settings.rpo_alpha / static_cast<double>(chosen.answer.tokens);
  made.loss -= alpha * chosen.answer.value;
  made.chosen -= alpha;
  return made;
}

PairSlopes reward_loss(const RewardSettings& settings, double chosen, double rejected,
                       double margin) {
  const double gap = chosen - rejected - margin, sum = chosen + rejected;
  const double center = settings.center_rewards_coefficient, slope = -sigmoid(-gap);
  return {-log_sigmoid(gap) + center * sum * sum, slope + 2 * center * sum,
          -slope + 2 * center * sum};
}

DpoLoss::DpoLoss(const DpoSettings& settings, const data::PackedBatch& batch,
                 std::span<const double> reference)
    : settings_(settings), batch_(batch), reference_(reference), first_(first_answers(batch)) {
  const size_t expected = settings.reference_free ? 0 : first_.back();
  HEDDLE_CHECK(reference.size() == expected, "dpo: found reference values of ", reference.size(),
               " answers; expected ", expected);
}

void DpoLoss::add(size_t group, std::span<const model::AnswerValue> answers,
                  std::span<double> slopes, model::LossSums& sums) const {
  const auto referred = [&](size_t i) {
    return ReferredValue{answers[i], reference_.empty() ? 0 : reference_[first_[group] + i]};
  };
  const auto reward = [&](const ReferredValue& of) {
    return settings_.beta * (of.answer.value - of.reference);
  };
  for_each_pair(batch_.groups[group], [&](size_t better, size_t worse, double share) {
    const ReferredValue chosen = referred(better), rejected = referred(worse);
    const PairSlopes pair = dpo_loss(settings_, chosen, rejected);
    slopes[better] += share * pair.chosen;
    slopes[worse] += share * pair.rejected;
    add_loss(share, pair.loss, sums);
    const double margin = reward(chosen) - reward(rejected);
    const double figures[kDpoFigures.size()] = {
        reward(chosen),           reward(rejected),
        margin > 0 ? 1.0 : 0.0,   margin,
        chosen.answer.value,      rejected.answer.value,
        chosen.answer.mean_logit, rejected.answer.mean_logit};
    for (size_t i = 0; i < kDpoFigures.size(); ++i) sums.figures[i] += share * figures[i];
  });
}

void RewardLoss::add(size_t group, std::span<const model::AnswerValue> answers,
                     std::span<double> slopes, model::LossSums& sums) const {
  const data::PreferenceGroup& of = batch_.groups[group];
  double least = answers[0].value, most = least, sum = 0;
  for (const model::AnswerValue& each : answers) {
    least = std::min(least, each.value);
    most = std::max(most, each.value);
    sum += each.value;
  }
  const double mean = sum / static_cast<double>(answers.size());
  for_each_pair(of, [&](size_t better, size_t worse, double share) {
    const double chosen = answers[better].value, rejected = answers[worse].value;
    const PairSlopes pair = reward_loss(settings_, chosen, rejected, double{of.margin});
    slopes[better] += share * pair.chosen;
    slopes[worse] += share * pair.rejected;
    add_loss(share, pair.loss, sums);
    const double figures[kRewardFigures.size()] = {
        chosen > rejected ? 1.0 : 0.0, chosen - rejected, mean, least, most, chosen, rejected};
    for (size_t i = 0; i < kRewardFigures.size(); ++i) sums.figures[i] += share * figures[i];
  });
}

AnswerRecorder::AnswerRecorder(const data::PackedBatch& batch)
    : first_(first_answers(batch)), values_(first_.back(), 0.0) {}

void AnswerRecorder::add(size_t group, std::span<const model::AnswerValue> answers,
                         std::span<double>, model::LossSums&) const {
  for (size_t i = 0; i < answers.size(); ++i) values_[first_[group] + i] = answers[i].value;
}

std::vector<model::AnswerGroup> answer_groups(const data::PackedBatch& batch) {
  std::vector<model::AnswerGroup> groups;
  for (const data::PreferenceGroup& each : batch.groups) {
    groups.push_back({.question = each.question, .answers = each.answers, .shared = each.shared});
  }
  return groups;
}

model::TrainingBatch view_of_groups(const data::PackedBatch& batch,
                                    std::span<const model::AnswerGroup> groups,
                                    const model::AnswerLoss& loss) {
  return {
      .pair = {.targets = batch.targets, .target_offsets = batch.target_offsets, .groups = groups},
      .labels = batch.labels,
      .answers = &loss};
}

}  // namespace heddle::train
