#include "heddle/train/preference.h"

#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/flops.h"
#include "heddle/train/host_language.h"

namespace heddle::train {

namespace {

/// An adapter that changes nothing, so that nothing of a model is trained.
model::Adapter no_adapter() {
  model::Adapter adapter{.settings = {}, .base = {}, .parameters = {}};
  adapter.settings.targets.clear();
  return adapter;
}

model::TrainingBatch batch_of(const data::PackedBatch& batch,
                              std::span<const model::AnswerGroup> groups,
                              const model::AnswerLoss& loss) {
  return {
      .pair = {.targets = batch.targets, .target_offsets = batch.target_offsets, .groups = groups},
      .labels = batch.labels,
      .answers = &loss};
}

std::vector<double> values_of(const model::TrainingTransformer& model,
                              const data::PackedBatch& batch, const LossSettings& settings,
                              ThreadPool& threads) {
  const AnswerRecorder recorder(batch);
  const auto groups = answer_groups(batch);
  model.loss(batch_of(batch, groups, recorder), settings, &threads);
  return recorder.values();
}

class PreferenceTraining : public HostLanguageTraining {
 public:
  PreferenceTraining(model::ModelFiles files, std::optional<model::Adapter> adapter,
                     const PreferenceSettings& settings, std::unique_ptr<AnswerJudge> reference,
                     ThreadPool& threads)
      : HostLanguageTraining(std::move(files), adapter, threads),
        base_is_there_(adapter.has_value() && adapter->settings.saved.empty()),
        settings_(settings),
        reference_(std::move(reference)) {}

  std::span<const std::string_view> figures() const override {
    if (std::holds_alternative<DpoSettings>(settings_)) return kDpoFigures;
    return kRewardFigures;
  }

  LossSums forward_backward(const data::PackedBatch& batch, const LossSettings& settings) override {
    return with_loss(batch, settings, [&](const model::TrainingBatch& of) {
      return transformer().forward_backward(of, settings, &threads());
    });
  }

  LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) override {
    return with_loss(batch, settings, [&](const model::TrainingBatch& of) {
      return transformer().loss(of, settings, &threads());
    });
  }

  double flops(const data::PackedBatch& batch) const override {
    const auto groups = answer_groups(batch);
    const double all = model::training_flops(
        config(),
        {.targets = batch.targets, .target_offsets = batch.target_offsets, .groups = groups});
    const double asked = asks_reference(batch) ? all / 3 : 0;
    return all * (has_adapter() ? 2.0 / 3.0 : 1.0) + asked;
  }

 private:
  bool asks_reference(const data::PackedBatch& batch) const {
    const auto* dpo = std::get_if<DpoSettings>(&settings_);
    return dpo != nullptr && !dpo->reference_free && batch.reference.empty();
  }

  std::vector<double> reference_of(const data::PackedBatch& batch, const LossSettings& settings) {
    if (!asks_reference(batch)) return batch.reference;
    LossSettings base;
    base.workers = settings.workers;
    base.skip_tiles = settings.skip_tiles;
    if (reference_ != nullptr) return (*reference_)(batch, base);
    HEDDLE_CHECK(base_is_there_,
                 "dpo: found no reference, as modules of the base are trained as a whole; expected "
                 "precompute_ref_log_probs, ref_model or reference_free");
    base.base_alone = true;
    return values_of(transformer(), batch, base, threads());
  }

  template <typename F>
  LossSums with_loss(const data::PackedBatch& batch, const LossSettings& settings, const F& run) {
    const auto groups = answer_groups(batch);
    if (const auto* dpo = std::get_if<DpoSettings>(&settings_)) {
      const std::vector<double> reference = reference_of(batch, settings);
      const auto seen = dpo->reference_free ? std::span<const double>() : std::span(reference);
      return run(batch_of(batch, groups, DpoLoss(*dpo, batch, seen)));
    }
    return run(batch_of(batch, groups, RewardLoss(std::get<RewardSettings>(settings_), batch)));
  }

  bool base_is_there_;
  PreferenceSettings settings_;
  std::unique_ptr<AnswerJudge> reference_;
};

}  // namespace

AnswerJudge::AnswerJudge(model::ModelFiles files, ThreadPool& threads)
    : transformer_(std::move(files), no_adapter()), threads_(threads) {}

std::vector<double> AnswerJudge::operator()(const data::PackedBatch& batch,
                                            const LossSettings& settings) const {
  return values_of(transformer_, batch, settings, threads_);
}

std::unique_ptr<LanguageTraining> make_preference_training(model::ModelFiles files,
                                                           std::optional<model::Adapter> adapter,
                                                           const PreferenceSettings& settings,
                                                           std::unique_ptr<AnswerJudge> reference,
                                                           ThreadPool& threads) {
  const bool rewards = std::holds_alternative<RewardSettings>(settings);
  std::visit([](const auto& each) { each.check(); }, settings);
  HEDDLE_CHECK(files.config.is_language_model() && files.config.scores == rewards,
               "finetune: found ",
               files.config.scores ? "a reward model" : "a model without a score", "; expected ",
               rewards ? "a reward model" : "a language model that writes");
  return std::make_unique<PreferenceTraining>(std::move(files), std::move(adapter), settings,
                                              std::move(reference), threads);
}

}  // namespace heddle::train
