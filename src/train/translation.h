// A translation Transformer as something to train, and its quality on held-out text.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/data/corpus.h"
#include "heddle/data/packer.h"
#include "heddle/io/value.h"
#include "heddle/model/training.h"
#include "heddle/train/trainable.h"

namespace heddle::train {

class TranslationModel : public Trainable {
 public:
  virtual const model::TransformerConfig& config() const = 0;

  /// The model as it is now, on the host; unrounded.
  virtual model::ModelFiles files() const = 0;

  /// From here on the loss is that of the model in int8, as TrainingTransformer has it.
  virtual void round_to_int8() = 0;

  double flops(const data::PackedBatch& batch) const override;
  void save(const std::string& folder, io::FileOperations& files) override;
};

/// On the host in single precision, or on a GPU in bf16 with f32 masters. The pool must outlive the
/// model. Checkpoints get copies of the vocabularies of `files`.
std::unique_ptr<TranslationModel> make_translation_model(model::ModelFiles files, Device device,
                                                         ThreadPool& threads);

/// That of the host.
class HostTranslationModel : public TranslationModel {
 public:
  HostTranslationModel(model::ModelFiles files, ThreadPool& threads);

  std::span<Slot> slots() { return transformer_.slots(); }
  std::unique_ptr<Optimizer> optimizer(const AdamWSettings& settings, ThreadPool* threads) override;
  int64_t parameters() const override { return parameters_of(transformer_.slots()); }
  void zero_gradients() override { transformer_.zero_gradients(); }
  void values_changed() override { transformer_.values_changed(); }
  LossSums forward_backward(const data::PackedBatch& batch, const LossSettings& settings) override;
  LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) override;
  void load(const std::string& folder) override;

  const model::TransformerConfig& config() const override { return transformer_.config(); }
  model::ModelFiles files() const override { return transformer_.files(); }
  void round_to_int8() override { transformer_.round_to_int8(); }

 private:
  model::TrainingTransformer transformer_;
  ThreadPool& threads_;
};

/// A batch as models take it.
model::TrainingBatch view_of(const data::PackedBatch& batch);

/// What stands behind sources and targets, and before targets, in batches for this model.
void set_ends(const model::TransformerConfig& config, data::PackerOptions& packing);

/// Text that a model is judged by: a line of each.
struct HeldOutText {
  std::vector<std::string> sources, references;
};

/// The first `most` pairs of the files.
HeldOutText read_held_out(const std::vector<data::CorpusFiles>& files, size_t most);

struct TranslationScores {
  double bleu = 0, chrf = 0;            ///< as sacreBLEU counts them
  std::vector<std::string> hypotheses;  ///< [lines]
};

/// Translates the text as `heddle translate` does, beam 1 being greedy, and scores it.
TranslationScores score_translations(const model::ModelFiles& model, const HeldOutText& text,
                                     int beam, int threads);

}  // namespace heddle::train
