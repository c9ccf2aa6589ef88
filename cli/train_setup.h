// From the keys of `heddle train` to what the library takes.
#pragma once

#include <string>
#include <vector>

#include "heddle/data/token_cache.h"
#include "heddle/io/value.h"
#include "heddle/model/parameters.h"
#include "heddle/train/trainer.h"

namespace heddle::cli {

/// The texts of a key that holds a list; empty when it is not set.
std::vector<std::string> texts_of(const io::Field& config, std::string_view key);

/// The files under `train_file` or `validation_file`.
std::vector<data::CorpusFiles> corpus_of(const io::Field& config, const std::string& side);

/// All but files and vocabularies.
data::CorpusOptions corpus_options(const io::Field& config, const model::ModelFiles& model);

/// The model to go on from, or a new one of the architecture's keys and the vocabularies' sizes.
model::ModelFiles starting_model(const io::Field& config);

/// What runs of all kinds have: schedule, optimiser, logs, checkpoints; not checked yet.
train::TrainerSettings common_settings(const io::Field& config);

/// All but what depends on model and data.
train::TrainerSettings trainer_settings(const io::Field& config);

}  // namespace heddle::cli
