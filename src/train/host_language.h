// A language model on the host as something to train; for language.h and preference.h.
#pragma once

#include "heddle/train/language.h"

namespace heddle::train {

class HostLanguageTraining : public LanguageTraining {
 public:
  HostLanguageTraining(model::ModelFiles files, std::optional<model::Adapter> adapter,
                       ThreadPool& threads);

  std::unique_ptr<Optimizer> optimizer(const AdamWSettings& settings, ThreadPool* threads) override;
  int64_t parameters() const override { return parameters_of(transformer_.slots()); }
  void zero_gradients() override { transformer_.zero_gradients(); }
  void values_changed() override { transformer_.values_changed(); }
  LossSums forward_backward(const data::PackedBatch& batch, const LossSettings& settings) override;
  LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) override;

  void save(const std::string& folder, io::FileOperations& files) override;
  void load(const std::string& folder) override;

  const model::TransformerConfig& config() const override { return transformer_.config(); }
  bool has_adapter() const override { return has_adapter_; }
  void save_result(const std::string& folder, io::FileOperations& files) override;
  int64_t workspace_bytes() const override { return transformer_.workspace_bytes(); }

 protected:
  model::TrainingTransformer& transformer() { return transformer_; }
  ThreadPool& threads() { return threads_; }

 private:
  bool has_adapter_;
  model::TrainingTransformer transformer_;
  ThreadPool& threads_;
};

}  // namespace heddle::train
