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
  /// On the host in single precision, or on a GPU in bf16. The pool must outlive it.
  AnswerJudge(model::ModelFiles files, ThreadPool& threads, Device device = {});

  /// [A], of all answers of a batch.
  std::vector<double> operator()(const data::PackedBatch& batch,
                                 const LossSettings& settings = {}) const;
  const model::TransformerConfig& config() const { return model_->config(); }

 private:
  std::unique_ptr<LanguageTraining> model_;
};

using PreferenceSettings = std::variant<DpoSettings, RewardSettings>;

/// On the host or on a GPU, as make_language_training has it; reward settings want a model with a
/// score (model::with_score). DPO takes the values of the reference from the batches; where they
/// have none it asks `reference`, or, when that is null, the model without its adapter, which must
/// have LoRA alone. The pool must outlive it.
std::unique_ptr<LanguageTraining> make_preference_training(model::ModelFiles files,
                                                           std::optional<model::Adapter> adapter,
                                                           const PreferenceSettings& settings,
                                                           std::unique_ptr<AnswerJudge> reference,
                                                           ThreadPool& threads, Device device = {});

}  // namespace heddle::train
