// What every stage of `heddle finetune` does before and behind its data and its loss.
#pragma once

#include <string>

#include "heddle/base/threads.h"
#include "heddle/io/value.h"
#include "heddle/model/parameters.h"
#include "heddle/train/batch_source.h"
#include "heddle/train/language.h"

namespace heddle::cli {

/// A run whose keys are checked, with its folder, threads and base model.
struct FinetuneRun {
  /// `values` are all keys, and must outlive it.
  explicit FinetuneRun(const io::Value& values);

  const io::Value& values;
  io::Field config;
  std::string output;
  Device device;
  int threads, workers;
  ThreadPool pool;
  std::string path;  ///< of the base
  model::ModelFiles base;
};

/// Parts that a batch is summed in.
int workers_of(const io::Field& config);

/// Throws for keys without which there is no run.
void check_method(const io::Field& config);

/// What a resumed run must have in common, for any stage; `key` tells the examples from others.
io::Value fixed_of(const FinetuneRun& run, const train::LanguageTraining& model, uint64_t key,
                   uint64_t training_examples);

struct RunData {
  const train::BatchSource& batches;
  int64_t batches_in_epoch;
  const train::BatchSource& held_out;  ///< may be empty
};

/// Trains to the end, and writes what was trained.
void train_and_save(FinetuneRun& run, train::LanguageTraining& model, const RunData& data,
                    io::Value fixed);

/// The stages dpo and rm.
void run_alignment(const io::Value& values);

}  // namespace heddle::cli
