// The loss of answers to questions (answer_groups.h): a number for each answer, then what an
// AnswerLoss makes of the numbers of one question, and the way back.
//
//   language model  number = Σ_t ln p[t] of the answer's learned tokens, chunked over the
//                   vocabulary; tokens are learned with the weight that the number's slope has
//   reward model    number = score · hidden state of the answer's last token
#pragma once

#include <span>
#include <vector>

#include "heddle/model/training.h"
#include "heddle/ops/cross_entropy.h"

namespace heddle::model {

/// What a model says of one answer.
struct AnswerValue {
  double value = 0;       ///< the number
  int64_t tokens = 0;     ///< learned; of a reward model 1
  double mean_logit = 0;  ///< of all logits at these tokens
};

/// What is learned of answers.
class AnswerLoss {
 public:
  virtual ~AnswerLoss() = default;

  /// Of group number `group` of a batch: adds its loss, nll, weight and figures to the sums, and
  /// sets slopes [K] to those of the loss by the values. Called by several threads, in no order.
  virtual void add(size_t group, std::span<const AnswerValue> answers, std::span<double> slopes,
                   LossSums& sums) const = 0;
};

/// What a language model says of the answers, from −ln p and the mean logit of each of the rows.
std::vector<AnswerValue> answer_values(const AnswerRows& rows, std::span<const double> nll,
                                       std::span<const double> mean_logits);

/// Asks the batch's loss about each group, adding to the sums; returns the slopes of all answers.
std::vector<double> answer_slopes(const TrainingBatch& batch, std::span<const AnswerValue> values,
                                  LossSums& sums);

struct AnswerOutput {
  const TrainingBatch& batch;
  const ops::Matrix& output;  ///< [V, D], or the score [1, D]
  bool scores = false;
  double gradient_scale = 1;
};

/// hidden [T, D]; `out` null: no gradients.
LossSums answer_loss(const AnswerOutput& of, ops::Rows& hidden,
                     const ops::CrossEntropyGradients* out, ops::Workspace& workspace);

}  // namespace heddle::model
