// From the keys of `heddle finetune` to what the library takes.
#pragma once

#include <optional>
#include <string>

#include "heddle/base/threads.h"
#include "heddle/data/example_cache.h"
#include "heddle/decode/language_model.h"
#include "heddle/io/value.h"
#include "heddle/model/lora.h"
#include "heddle/train/batch_source.h"
#include "heddle/train/memory_plan.h"
#include "heddle/train/trainer.h"

namespace heddle::cli {

/// Nothing when all weights are trained.
std::optional<model::LoraSettings> lora_settings(const io::Field& config);

/// The adapter to go on from, or a new one; nothing when all weights are trained.
std::optional<model::Adapter> starting_adapter(const io::Field& config,
                                               const model::ModelFiles& base);

/// Tokenised examples of the files under `key`.
data::ExampleCache open_examples(const io::Field& config, const std::string& key,
                                 const decode::TextFiles& text, ThreadPool* threads,
                                 uint64_t& cache_key);

data::RowPackerOptions row_options(const io::Field& config);

/// Examples [0, n) and the others, which are held out.
struct SplitExamples {
  data::TokenExamples training, held_out;
};
SplitExamples split_examples(const data::TokenExamples& all, double val_size);

/// All but what depends on the model; the number of steps follows from the batches of an epoch.
train::TrainerSettings finetune_settings(const io::Field& config, int64_t batches_in_epoch);

enum class Stage : uint8_t { sft, dpo, rm };
Stage stage_of(const io::Field& config);

/// Tokens of a row.
int64_t row_length(const io::Field& config);

/// What data of both kinds are read with.
data::ConversationOptions reading_options(const io::Field& config);
data::ChatTokenOptions token_options(const io::Field& config);

/// Where tokens and reference values are kept.
std::string cache_folder(const io::Field& config);

/// Files that the tokenizer was made of.
std::vector<std::string> vocabularies_of(const decode::TextFiles& text);

/// How many of `size` items, the last ones, are held out.
uint64_t held_out_items(uint64_t size, double val_size);

train::PlannedRun planned_run(const io::Field& config, int workers, Device device);

/// Numbers of a reference that stands beside the model while it is trained; 0: none does.
int64_t reference_numbers(const io::Field& config, const model::TransformerConfig& model);

/// The reference is a model of its own: of another path, or since nothing keeps the base.
bool has_second_model(const io::Field& config);

/// Throws when the plan does not fit, with the longest row that does.
void check_memory(const io::Field& config, const model::TransformerConfig& model,
                  const train::PlannedRun& run);

}  // namespace heddle::cli
