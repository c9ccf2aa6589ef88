// A language model as something to train: all of it, or an adapter.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "heddle/base/threads.h"
#include "heddle/model/lora.h"
#include "heddle/model/training.h"
#include "heddle/train/trainable.h"

namespace heddle::train {

inline constexpr const char* kMasterWeights = "master_weights.safetensors";

/// A checkpoint or a finished run is a folder that others read: PEFT's adapter pair, or a model
/// directory. Beside it checkpoints hold what is trained, in f32 and as it is here, in
/// kMasterWeights: files of others may round.
class LanguageTraining : public Trainable {
 public:
  virtual const model::TransformerConfig& config() const = 0;
  virtual bool has_adapter() const = 0;

  /// Writes the adapter, or the model, alone.
  virtual void save_result(const std::string& folder, io::FileOperations& files) = 0;

  /// Largest memory of activations and their gradients so far.
  virtual int64_t workspace_bytes() const = 0;

  /// forward_backward, or unless it `learns` loss, of a batch in the form that models take, which
  /// may have groups. `prepared` is what prepare() left in its PackedBatch, or null.
  virtual LossSums run(const model::TrainingBatch& batch, const LossSettings& settings, bool learns,
                       void* prepared) = 0;

  LossSums forward_backward(const data::PackedBatch& batch, const LossSettings& settings) override;
  LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) override;

  double flops(const data::PackedBatch& batch) const override;
};

/// On the host in single precision, or on a GPU in bf16 with f32 masters of what is trained. The
/// pool must outlive it.
std::unique_ptr<LanguageTraining> make_language_training(model::ModelFiles files,
                                                         std::optional<model::Adapter> adapter,
                                                         Device device, ThreadPool& threads);

}  // namespace heddle::train
