// A Transformer that can be trained: single-precision weights with their gradients, and
// the loss of a packed batch with its backward in one call.
//
//   loss = Σ_t weight[t] · ((1 − ε) · −ln p[t, label] + ε · mean_n −ln p[t, n]) + z · (ln Z[t])²
//
// with ε the label smoothing (and the teacher's part as in ops/cross_entropy.h). The forward is the
// one that translates (layers.h), recorded on a tape. A batch is cut into shards of whole
// sentences, shard i for worker i % W; each worker has gradients of its own, which are added in
// order. So a step has the same bits whenever W is the same, whatever threads do the work.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "heddle/base/threads.h"
#include "heddle/model/config.h"
#include "heddle/model/lora.h"
#include "heddle/model/parameters.h"
#include "heddle/model/transformer.h"
#include "heddle/tensor/tensor.h"

namespace heddle::model {

/// Word-level distillation: for each target position the teacher's k best tokens and their
/// log-probabilities. Not given: the labels alone teach.
struct TeacherChoices {
  std::span<const int32_t> ids{};              ///< [Tt, k]; −1: none
  std::span<const float> log_probabilities{};  ///< [Tt, k]
  int64_t count = 0;                           ///< k
};

class AnswerLoss;

/// One packed batch of sentence pairs, or of texts for a language model: targets alone.
struct TrainingBatch {
  PackedPair pair;                    ///< targets shifted right
  std::span<const int32_t> labels{};  ///< [Tt], −1: no loss there
  std::span<const float> weights{};   ///< [Tt], or empty: 1 each
  TeacherChoices teacher{};

  /// Of batches with groups: what is learned of their answers in place of the labels' own loss.
  const AnswerLoss* answers = nullptr;
  size_t first_group = 0;  ///< number of the first one, where this is a part of a batch
};

/// What shapes the loss and its gradient. Dropout draws the number of an element from (seed, step,
/// place in the model, global row, column), so it depends on no number of threads or shards.
struct LossSettings {
  double label_smoothing = 0;
  double dropout = 0;             ///< of embeddings and of each sublayer's result
  double activation_dropout = 0;  ///< behind the activation of the feed-forward layers
  double teacher_weight = 0;  ///< λ: (1 − λ) · label loss + λ · cross-entropy with the teacher
  double z_loss = 0;
  double gradient_scale = 1;  ///< gradients are those of gradient_scale · loss
  uint64_t seed = 0;
  uint64_t step = 0;
  uint64_t first_row = 0;   ///< tells batches of one step apart: number of this batch's first row,
                            ///< below 2^48, on either side
  bool recompute = false;   ///< keep only each layer's input, and compute the rest again
  bool skip_tiles = true;   ///< false: attention computes hidden tiles too; the same bits, slower
  bool base_alone = false;  ///< without the adapter
  int workers = 0;          ///< shards are dealt out to so many; 0: one a thread
};

/// Throws unless batch, settings and model fit together.
void check_batch(const TrainingBatch& batch, const LossSettings& settings,
                 const TransformerConfig& config);

inline constexpr size_t kMostFigures = 12;

struct LossSums {
  double loss = 0;    ///< Σ weight · loss, in nats
  double nll = 0;     ///< Σ weight · −ln p[label]
  double weight = 0;  ///< Σ weight where there is a label
  int64_t tokens = 0;
  int64_t correct = 0;                         ///< labels that had the highest logit
  std::array<double, kMostFigures> figures{};  ///< what an AnswerLoss sums beside that

  LossSums& operator+=(const LossSums& other) {
    loss += other.loss;
    nll += other.nll;
    weight += other.weight;
    tokens += other.tokens;
    correct += other.correct;
    for (size_t i = 0; i < kMostFigures; ++i) figures[i] += other.figures[i];
    return *this;
  }
};

class TrainingTransformer {
 public:
  explicit TrainingTransformer(ModelFiles files);  ///< f32 masters, whatever they were stored as

  /// A language model of which the adapter alone is trained; the base has neither gradients nor
  /// masters of its own.
  TrainingTransformer(ModelFiles files, Adapter adapter);
  ~TrainingTransformer();
  TrainingTransformer(TrainingTransformer&&) noexcept;
  TrainingTransformer& operator=(TrainingTransformer&&) noexcept;

  const TransformerConfig& config() const;

  /// A parameter and its gradient, both f32 of one shape. Tied weights are one slot.
  struct Slot {
    std::string name;
    Tensor value, gradient;
  };
  std::span<Slot> slots();  ///< what is trained, in the order of parameters_of; adapters behind
  std::span<const Slot> slots() const;

  void zero_gradients();
  void values_changed();  ///< to be called after values were written

  /// From here on the loss is that of the model in int8 (formats.h, quantised): each matrix is
  /// rounded to its rows' levels before it is used. Gradients are taken there and applied to the
  /// values as they are (straight-through; Bengio et al. 2013, arXiv 1308.3432).
  void round_to_int8();

  /// Adds the gradients of gradient_scale · loss to the slots. A batch without labels has loss 0
  /// and adds nothing.
  LossSums forward_backward(const TrainingBatch& batch, const LossSettings& settings,
                            ThreadPool* threads = nullptr);

  /// The loss alone, without dropout; settings give label smoothing, teacher and z-loss.
  LossSums loss(const TrainingBatch& batch, ThreadPool* threads = nullptr) const {
    return loss(batch, {}, threads);
  }
  LossSums loss(const TrainingBatch& batch, const LossSettings& settings,
                ThreadPool* threads = nullptr) const;

  /// The model as it is now, to be saved or translated with. Shares the memory of the values. With
  /// an adapter: what that belongs to, and it must be merged.
  ModelFiles files() const;

  /// The adapter as it is now, sharing its memory; throws when there is none.
  Adapter adapter() const;

  int64_t workspace_bytes() const;  ///< held by all workers for activations and their gradients

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A new model: matrices Glorot-uniform, embeddings normal with deviation D^−½, biases 0, norms 1.
ModelFiles random_model(const TransformerConfig& config, uint64_t seed);

/// A language model as a reward model to be trained: a score, normal with deviation 0.02, in place
/// of its output projection. Where it has no token for padding, which tells transformers where a
/// text ends, or has the end of texts for it, that becomes the beginning of texts.
ModelFiles with_score(ModelFiles language_model, uint64_t seed);

}  // namespace heddle::model
