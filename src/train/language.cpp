#include "heddle/train/language.h"

#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/paths.h"
#include "heddle/model/flops.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/peft.h"
#include "heddle/train/cuda/language.h"
#include "heddle/train/optimizer.h"
#include "heddle/train/translation.h"

namespace heddle::train {

namespace {

/// In single precision.
class HostLanguageTraining : public LanguageTraining {
 public:
  HostLanguageTraining(model::ModelFiles files, std::optional<model::Adapter> adapter,
                       ThreadPool& threads)
      : has_adapter_(adapter.has_value()),
        transformer_(has_adapter_
                         ? model::TrainingTransformer(std::move(files), std::move(*adapter))
                         : model::TrainingTransformer(std::move(files))),
        threads_(threads) {}

  std::unique_ptr<Optimizer> optimizer(const AdamWSettings& settings,
                                       ThreadPool* threads) override {
    return host_optimizer(transformer_.slots(), settings, threads);
  }
  int64_t parameters() const override { return parameters_of(transformer_.slots()); }
  void zero_gradients() override { transformer_.zero_gradients(); }
  void values_changed() override { transformer_.values_changed(); }
  LossSums run(const model::TrainingBatch& batch, const LossSettings& settings, bool learns,
               void*) override {
    return learns ? transformer_.forward_backward(batch, settings, &threads_)
                  : transformer_.loss(batch, settings, &threads_);
  }

  void save(const std::string& folder, io::FileOperations& files) override {
    save_result(folder, files);
    save_values(transformer_.slots(), io::join_path(folder, kMasterWeights), files);
  }
  void load(const std::string& folder) override {
    load_values(transformer_.slots(), io::join_path(folder, kMasterWeights));
  }

  const model::TransformerConfig& config() const override { return transformer_.config(); }
  bool has_adapter() const override { return has_adapter_; }
  void save_result(const std::string& folder, io::FileOperations& files) override {
    if (has_adapter_) {
      model::save_adapter(transformer_.adapter(), config(), folder, files);
    } else {
      model::save_model(transformer_.files(), folder, files);
    }
  }
  int64_t workspace_bytes() const override { return transformer_.workspace_bytes(); }

 private:
  bool has_adapter_;
  model::TrainingTransformer transformer_;
  ThreadPool& threads_;
};

}  // namespace

LossSums LanguageTraining::forward_backward(const data::PackedBatch& batch,
                                            const LossSettings& settings) {
  return run(view_of(batch), settings, true, batch.prepared.get());
}

LossSums LanguageTraining::loss(const data::PackedBatch& batch, const LossSettings& settings) {
  return run(view_of(batch), settings, false, batch.prepared.get());
}

double LanguageTraining::flops(const data::PackedBatch& batch) const {
  const model::PackedPair texts{.targets = batch.targets, .target_offsets = batch.target_offsets};
  // Frozen weights need no gradient of their own: a third of the work less.
  return model::training_flops(config(), texts) * (has_adapter() ? 2.0 / 3.0 : 1.0);
}

std::unique_ptr<LanguageTraining> make_language_training(model::ModelFiles files,
                                                         std::optional<model::Adapter> adapter,
                                                         Device device, ThreadPool& threads) {
  HEDDLE_CHECK(files.config.is_language_model(),
               "finetune: found an encoder–decoder; expected a language model. Hint: heddle train");
  if (device.type == DeviceType::cuda) {
    return cuda::language_training(std::move(files), std::move(adapter), device);
  }
  return std::make_unique<HostLanguageTraining>(std::move(files), std::move(adapter), threads);
}

}  // namespace heddle::train
