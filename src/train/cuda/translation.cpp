#include "heddle/train/cuda/translation.h"

#include <utility>

#include "heddle/io/paths.h"
#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/parameters.h"
#include "heddle/model/cuda/training.h"
#include "heddle/train/cuda/adamw.h"

namespace heddle::train::cuda {

namespace {

class CudaTranslationModel : public TranslationModel {
 public:
  CudaTranslationModel(model::ModelFiles files, int device)
      : transformer_(std::move(files), device) {}

  std::unique_ptr<Optimizer> optimizer(const AdamWSettings& settings, ThreadPool*) override {
    return std::make_unique<AdamW>(transformer_, settings);
  }
  int64_t parameters() const override {
    int64_t count = 0;
    for (const model::ParameterShape& each : transformer_.shapes()) count += each.shape.elements();
    return count;
  }
  void zero_gradients() override { transformer_.parameters().zero_gradients(); }
  void values_changed() override {  // the optimiser has written the copies, too
    if (rounds_) transformer_.round_to_int8();
  }
  void round_to_int8() override {
    rounds_ = true;
    values_changed();
  }
  void prepare(data::PackedBatch& batch) override {
    batch.prepared = transformer_.lay_out(view_of(batch));
  }
  LossSums forward_backward(const data::PackedBatch& batch, const LossSettings& settings) override {
    auto* laid_out = static_cast<model::cuda::LaidOutBatch*>(batch.prepared.get());
    return transformer_.forward_backward(view_of(batch), settings, laid_out);
  }
  LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) override {
    return transformer_.loss(view_of(batch), settings);
  }
  void load(const std::string& folder) override {
    transformer_.load(
        read_values(transformer_.shapes(), io::join_path(folder, "model.safetensors")));
  }
  const model::TransformerConfig& config() const override { return transformer_.config(); }
  model::ModelFiles files() const override { return transformer_.files(); }

 private:
  model::cuda::TrainingTransformer transformer_;
  bool rounds_ = false;
};

}  // namespace

std::unique_ptr<TranslationModel> translation_model(model::ModelFiles files, Device device) {
  return std::make_unique<CudaTranslationModel>(std::move(files), device.index);
}

}  // namespace heddle::train::cuda
