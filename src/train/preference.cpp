#include "heddle/train/preference.h"

#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/flops.h"
#include "heddle/train/optimizer.h"

namespace heddle::train {

namespace {

/// An adapter that changes nothing, so that nothing of a model is trained.
model::Adapter no_adapter() {
  model::Adapter adapter{.settings = {}, .base = {}, .parameters = {}};
  adapter.settings.targets.clear();
  return adapter;
}

/// What a model says of the answers of a batch. `prepared`: by that model, or null.
std::vector<double> values_of(LanguageTraining& model, const data::PackedBatch& batch,
                              const LossSettings& settings, void* prepared) {
  const AnswerRecorder recorder(batch);
  const auto groups = answer_groups(batch);
  model.run(view_of_groups(batch, groups, recorder), settings, false, prepared);
  return recorder.values();
}

/// A model wherever it is, with the losses of ranked answers.
class PreferenceTraining : public LanguageTraining {
 public:
  PreferenceTraining(std::unique_ptr<LanguageTraining> model, bool base_is_there,
                     const PreferenceSettings& settings, std::unique_ptr<AnswerJudge> reference)
      : model_(std::move(model)),
        base_is_there_(base_is_there),
        settings_(settings),
        reference_(std::move(reference)) {}

  std::unique_ptr<Optimizer> optimizer(const AdamWSettings& settings,
                                       ThreadPool* threads) override {
    return model_->optimizer(settings, threads);
  }
  int64_t parameters() const override { return model_->parameters(); }
  void zero_gradients() override { model_->zero_gradients(); }
  void values_changed() override { model_->values_changed(); }
  void prepare(data::PackedBatch& batch) override { model_->prepare(batch); }
  void save(const std::string& folder, io::FileOperations& files) override {
    model_->save(folder, files);
  }
  void load(const std::string& folder) override { model_->load(folder); }
  const model::TransformerConfig& config() const override { return model_->config(); }
  bool has_adapter() const override { return model_->has_adapter(); }
  void save_result(const std::string& folder, io::FileOperations& files) override {
    model_->save_result(folder, files);
  }
  int64_t workspace_bytes() const override { return model_->workspace_bytes(); }
  LossSums run(const model::TrainingBatch& batch, const LossSettings& settings, bool learns,
               void* prepared) override {
    return model_->run(batch, settings, learns, prepared);
  }

  std::span<const std::string_view> figures() const override {
    if (std::holds_alternative<DpoSettings>(settings_)) return kDpoFigures;
    return kRewardFigures;
  }

  LossSums forward_backward(const data::PackedBatch& batch, const LossSettings& settings) override {
    return with_loss(batch, settings, true);
  }

  LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) override {
    return with_loss(batch, settings, false);
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
    return values_of(*model_, batch, base, batch.prepared.get());
  }

  LossSums with_loss(const data::PackedBatch& batch, const LossSettings& settings, bool learns) {
    const auto groups = answer_groups(batch);
    const auto run_with = [&](const model::AnswerLoss& loss) {
      return model_->run(view_of_groups(batch, groups, loss), settings, learns,
                         batch.prepared.get());
    };
    if (const auto* dpo = std::get_if<DpoSettings>(&settings_)) {
      const std::vector<double> reference = reference_of(batch, settings);
      const auto seen = dpo->reference_free ? std::span<const double>() : std::span(reference);
      return run_with(DpoLoss(*dpo, batch, seen));
    }
    return run_with(RewardLoss(std::get<RewardSettings>(settings_), batch));
  }

  std::unique_ptr<LanguageTraining> model_;
  bool base_is_there_;
  PreferenceSettings settings_;
  std::unique_ptr<AnswerJudge> reference_;
};

}  // namespace

AnswerJudge::AnswerJudge(model::ModelFiles files, ThreadPool& threads, Device device)
    : model_(make_language_training(std::move(files), no_adapter(), device, threads)) {}

std::vector<double> AnswerJudge::operator()(const data::PackedBatch& batch,
                                            const LossSettings& settings) const {
  return values_of(*model_, batch, settings, nullptr);
}

std::unique_ptr<LanguageTraining> make_preference_training(model::ModelFiles files,
                                                           std::optional<model::Adapter> adapter,
                                                           const PreferenceSettings& settings,
                                                           std::unique_ptr<AnswerJudge> reference,
                                                           ThreadPool& threads, Device device) {
  const bool rewards = std::holds_alternative<RewardSettings>(settings);
  std::visit([](const auto& each) { each.check(); }, settings);
  HEDDLE_CHECK(files.config.is_language_model() && files.config.scores == rewards,
               "finetune: found ",
               files.config.scores ? "a reward model" : "a model without a score", "; expected ",
               rewards ? "a reward model" : "a language model that writes");
  const bool base_is_there = adapter.has_value() && adapter->settings.saved.empty();
  return std::make_unique<PreferenceTraining>(
      make_language_training(std::move(files), std::move(adapter), device, threads), base_is_there,
      settings, std::move(reference));
}

}  // namespace heddle::train
