// Random questions with answers as a batch, and a loss of their values.
#pragma once

#include <cmath>
#include <vector>

#include "heddle/base/random.h"
#include "heddle/model/answer_loss.h"

namespace heddle::model {

/// Σ over pairs i < j of ln(1 + exp(β · (values[j] − values[i]))).
class PairLoss : public AnswerLoss {
 public:
  explicit PairLoss(double beta = 1) : beta_(beta) {}
  void add(size_t, std::span<const AnswerValue> answers, std::span<double> slopes,
           LossSums& sums) const override {
    for (size_t i = 0; i < answers.size(); ++i) {
      for (size_t j = i + 1; j < answers.size(); ++j) {
        const double gap = beta_ * (answers[j].value - answers[i].value);
        sums.loss += std::log1p(std::exp(gap));
        slopes[i] -= beta_ / (1 + std::exp(-gap));
        slopes[j] += beta_ / (1 + std::exp(-gap));
      }
    }
    sums.weight += 1;
  }

 private:
  double beta_;
};

/// Groups of `answers` random answers to each of `count` questions, at most `longest` tokens.
struct AnswerCase {
  AnswerCase(size_t count, int answers, int64_t longest, bool shared, uint64_t seed = 7) {
    Random random(seed);
    for (size_t g = 0; g < count; ++g) {
      const int64_t question = random.between(1, longest - 1);
      std::vector<int32_t> asked;
      for (int64_t t = 0; t < question; ++t) asked.push_back(token(random));
      lengths.emplace_back();
      for (int i = 0; i < answers; ++i) {
        const int64_t length = random.between(1, longest - question);
        lengths.back().push_back(static_cast<int32_t>(length));
        if (i == 0 || !shared) append(asked, false);
        std::vector<int32_t> answer;
        for (int64_t t = 0; t < length; ++t) answer.push_back(token(random));
        append(answer, true);
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      groups.push_back({.question = question, .answers = lengths.back(), .shared = shared});
    }
    for (size_t g = 0; g < count; ++g) groups[g].answers = lengths[g];
  }

  static int32_t token(Random& random) { return static_cast<int32_t>(random.below(48)); }

  /// Labels within answers alone.
  void append(const std::vector<int32_t>& text, bool learned) {
    tokens.insert(tokens.end(), text.begin(), text.end());
    for (size_t t = 0; t < text.size(); ++t) {
      labels.push_back(learned && t + 1 < text.size() ? text[t + 1] : -1);
    }
  }

  TrainingBatch batch(const AnswerLoss& loss) const {
    return {.pair = {.targets = tokens, .target_offsets = offsets, .groups = groups},
            .labels = labels,
            .answers = &loss};
  }

  std::vector<int32_t> tokens, labels, offsets{0};
  std::vector<std::vector<int32_t>> lengths;
  std::vector<AnswerGroup> groups;
};

}  // namespace heddle::model
