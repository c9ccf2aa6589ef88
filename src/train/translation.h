// A translation Transformer as something to train, and its quality on held-out text.
#pragma once

#include <cstdint>
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
  /// The pool must outlive the model. Checkpoints get copies of the vocabularies of `files`.
  TranslationModel(model::ModelFiles files, ThreadPool& threads);

  std::span<Slot> slots() override { return transformer_.slots(); }
  void zero_gradients() override { transformer_.zero_gradients(); }
  void values_changed() override { transformer_.values_changed(); }
  LossSums forward_backward(const data::PackedBatch& batch, const LossSettings& settings) override;
  LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) override;
  double flops(const data::PackedBatch& batch) const override;
  void save(const std::string& folder, io::FileOperations& files) override;
  void load(const std::string& folder) override;

  const model::TransformerConfig& config() const { return transformer_.config(); }
  model::ModelFiles files() const { return transformer_.files(); }

 private:
  model::TrainingTransformer transformer_;
  ThreadPool& threads_;
};

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
