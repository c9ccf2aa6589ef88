// The loop of a training: batches, gradients, updates, reports, validation, checkpoints.
//
//   step   `accumulation` packed batches; gradients of Σ weight · loss / Σ weight; one update
//   skip   loss or gradient not finite: no update, the step counts, its data is passed over;
//          ten in a row are an Error, and the last checkpoint stays
//   stop   asked between two steps: a checkpoint, then the end
//
// A run that was stopped, killed or cut off goes on to the bit from its newest whole checkpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/data/packer.h"
#include "heddle/io/file_operations.h"
#include "heddle/io/value.h"
#include "heddle/train/adamw.h"
#include "heddle/train/batch_source.h"
#include "heddle/train/schedule.h"
#include "heddle/train/trainable.h"
#include "heddle/train/trainer_state.h"

namespace heddle::train {

struct TrainerSettings {
  std::string output_dir;
  Schedule schedule;
  AdamWSettings optimizer;
  data::PackerOptions packing;  ///< of sentence pairs
  LossSettings loss;            ///< step, first_row and gradient_scale are set by the trainer
  int accumulation = 1;
  double max_grad_norm = 1;  ///< 0: no clipping
  int64_t max_steps = 0;     ///< 0: no end by steps
  int64_t max_epochs = 0;    ///< 0: no end by epochs
  int64_t logging_steps = 100;
  int64_t eval_steps = 0;  ///< 0: never
  int64_t save_steps = 1000;
  int save_total_limit = 3;
  int64_t early_stopping_patience = 0;  ///< evaluations without a lower loss; 0: no such end
  int64_t most_skipped_in_row = 10;
  bool skips_spikes = false;   ///< no update where loss or norm is five deviations above the last
                               ///< hundred steps'; it is logged either way
  std::string event_folder{};  ///< for TensorBoard; empty: no events
  double peak_flops = 0;       ///< of the machine, a second, for the MFU; 0: not known
  bool resume = true;          ///< from the newest whole checkpoint, if there is one
  io::Value fixed;  ///< what else a resumed run must have in common: model, vocabulary, data

  void check() const;
};

/// What is known after a step that is reported.
struct Report {
  int64_t step = 0;
  double epoch = 0;
  double loss = 0;      ///< a token, with label smoothing, since the last report
  double nll = 0;       ///< a token, without
  double accuracy = 0;  ///< share of labels that had the highest logit
  double learning_rate = 0;
  double grad_norm = 0;  ///< of the last step, before clipping
  int64_t tokens = 0;    ///< target tokens in all
  int64_t skipped = 0;
  double tokens_per_second = 0;  ///< since the last report
  double flops_per_second = 0;   ///< of the model's own arithmetic; 0: not known
  double mfu = 0;                ///< share of the machine's peak; 0: not known
  double seconds_left = -1;      ///< to the last step; −1: not known
  std::vector<std::pair<std::string, double>> figures{};  ///< of the model's own; then no nll
};

struct TrainerHooks {
  std::function<bool()> stop_requested;
  std::function<void(const Report&)> report;
  std::function<void(const std::string&)> warn;
  /// More figures of a validation (BLEU, …), added to its line in the log.
  std::function<io::Value(int64_t step)> evaluate;
  /// After a validation, its line in the log; the model still has the weights that were judged.
  std::function<void(const io::Value& record, bool is_best)> evaluated;
  ThreadPool* threads = nullptr;  ///< for the update
  io::FileOperations* files = nullptr;
};

enum class End { steps, epochs, patience, stopped };

struct TrainerResult {
  TrainerState state;
  End end = End::steps;
};

/// Trains until an end is reached; the last state is saved, and the model left with its weights, or
/// their average where there is one. `validation`, whose order is that of the data, may be null.
TrainerResult train(Trainable& model, const BatchSource& batches, const BatchSource* validation,
                    const TrainerSettings& settings, const TrainerHooks& hooks = {});

/// The same on sentence pairs, packed as `settings.packing` says. `validation` may be empty.
TrainerResult train(Trainable& model, const data::TokenPairs& pairs,
                    const data::TokenPairs& validation, const TrainerSettings& settings,
                    const TrainerHooks& hooks = {});

/// The settings that a resumed run must have in common with its checkpoint.
io::Value fixed_settings(const TrainerSettings& settings, const BatchSource& batches);

}  // namespace heddle::train
