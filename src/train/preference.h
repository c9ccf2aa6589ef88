// A language model that learns from ranked answers: DPO, or as a reward model.
#pragma once

#include <memory>
#include <optional>
#include <variant>

#include "heddle/train/language.h"
#include "heddle/train/preference_loss.h"

namespace heddle::train {

/// A model that says how likely answers are, or rewards them; it learns nothing.
class AnswerJudge {
 public:
  /// In single precision. The pool must outlive it.
  AnswerJudge(model::ModelFiles files, ThreadPool& threads);

  /// [A], of all answers of a batch.
  std::vector<double> operator()(const data::PackedBatch& batch,
                                 const LossSettings& settings = {}) const;
  const model::TransformerConfig& config() const { return transformer_.config(); }

 private:
  model::TrainingTransformer transformer_;
  ThreadPool& threads_;
};

using PreferenceSettings = std::variant<DpoSettings, RewardSettings>;

/// On the host in single precision; reward settings want a model with a score (model::with_score).
/// DPO takes the values of the reference from the batches; where they have none it asks
/// `reference`, or, when that is null, the model without its adapter, which must have LoRA alone.
/// The pool must outlive it.
std::unique_ptr<LanguageTraining> make_preference_training(model::ModelFiles files,
                                                           std::optional<model::Adapter> adapter,
                                                           const PreferenceSettings& settings,
                                                           std::unique_ptr<AnswerJudge> reference,
                                                           ThreadPool& threads);

}  // namespace heddle::train
