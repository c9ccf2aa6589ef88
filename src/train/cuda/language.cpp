#include "heddle/train/cuda/language.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "heddle/io/paths.h"
#include "heddle/io/safetensors.h"
#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/training.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/peft.h"
#include "heddle/train/cuda/adamw.h"
#include "heddle/train/preference_loss.h"
#include "heddle/train/translation.h"

namespace heddle::train::cuda {

namespace {

class CudaLanguageTraining : public LanguageTraining {
 public:
  CudaLanguageTraining(model::ModelFiles files, std::optional<model::Adapter> adapter, int device)
      : has_adapter_(adapter.has_value()),
        transformer_(has_adapter_ ? model::cuda::TrainingTransformer(std::move(files),
                                                                     std::move(*adapter), device)
                                  : model::cuda::TrainingTransformer(std::move(files), device)) {}

  std::unique_ptr<Optimizer> optimizer(const AdamWSettings& settings, ThreadPool*) override {
    return std::make_unique<AdamW>(transformer_, settings);
  }
  int64_t parameters() const override {
    int64_t count = 0;
    for (const model::ParameterShape& each : transformer_.shapes()) count += each.shape.elements();
    return count;
  }
  void zero_gradients() override { transformer_.parameters().zero_gradients(); }
  void values_changed() override {}  // the optimiser writes the copies, too
  void prepare(data::PackedBatch& batch) override {
    if (batch.groups.empty()) {
      batch.prepared = transformer_.lay_out(view_of(batch));
      return;
    }
    const auto groups = answer_groups(batch);
    batch.prepared = transformer_.lay_out(view_of_groups(batch, groups, AnswerRecorder(batch)));
  }
  LossSums run(const model::TrainingBatch& batch, const LossSettings& settings, bool learns,
               void* prepared) override {
    auto* laid_out = static_cast<model::cuda::LaidOutBatch*>(prepared);
    return learns ? transformer_.forward_backward(batch, settings, laid_out)
                  : transformer_.loss(batch, settings, laid_out);
  }

  void save(const std::string& folder, io::FileOperations& files) override;
  void load(const std::string& folder) override {
    transformer_.load(read_values(transformer_.shapes(), io::join_path(folder, kMasterWeights)));
  }

  const model::TransformerConfig& config() const override { return transformer_.config(); }
  bool has_adapter() const override { return has_adapter_; }
  void save_result(const std::string& folder, io::FileOperations& files) override {
    write(values(), folder, files);
  }
  int64_t workspace_bytes() const override { return transformer_.workspace_bytes(); }

 private:
  /// What is trained, on the host, as a model or as an adapter.
  struct Values {
    std::optional<model::Adapter> adapter;
    model::ModelFiles files;
    const model::Parameters& parameters() const {
      return adapter ? adapter->parameters : files.parameters;
    }
  };
  Values values() const {
    if (has_adapter_) return {.adapter = transformer_.adapter(), .files = {}};
    return {.adapter = {}, .files = transformer_.files()};
  }
  void write(const Values& values, const std::string& folder, io::FileOperations& files) const {
    if (has_adapter_) {
      model::save_adapter(*values.adapter, config(), folder, files);
    } else {
      model::save_model(values.files, folder, files);
    }
  }

  bool has_adapter_;
  model::cuda::TrainingTransformer transformer_;
};

void CudaLanguageTraining::save(const std::string& folder, io::FileOperations& files) {
  const Values now = values();  // once from the GPU
  write(now, folder, files);
  std::map<std::string, Tensor> tensors;
  for (const model::ParameterShape& each : transformer_.shapes()) {
    tensors.emplace(each.name, now.parameters().require(each.name, each.shape).values);
  }
  io::write_safetensors(io::join_path(folder, kMasterWeights), tensors, {}, files);
}

}  // namespace

std::unique_ptr<LanguageTraining> language_training(model::ModelFiles files,
                                                    std::optional<model::Adapter> adapter,
                                                    Device device) {
  return std::make_unique<CudaLanguageTraining>(std::move(files), std::move(adapter), device.index);
}

}  // namespace heddle::train::cuda
