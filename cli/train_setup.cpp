#include "cli/train_setup.h"

#include <algorithm>

#include "cli/train_keys.h"
#include "heddle/base/error.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/training.h"
#include "heddle/text/tokenizer.h"

namespace heddle::cli {

namespace {

constexpr int64_t kMany = int64_t{1} << 40;
constexpr int64_t kLongest = 65'536;  // tokens of a sentence

/// The vocabularies of `vocab`, as a model has them.
void set_vocabularies(const io::Field& config, model::ModelFiles& files) {
  const std::vector<std::string> paths = texts_of(config, "vocab");
  HEDDLE_CHECK(paths.size() == 1 || paths.size() == 2, "vocab: found ", paths.size(),
               " files; expected one SentencePiece model, or one of the source and one of the "
               "target (heddle vocab makes them)");
  files.source_vocabulary = paths.front();
  files.target_vocabulary = paths.back();
}

io::Value architecture_of(const io::Field& config, bool one_vocabulary) {
  io::Value json;
  for (const Key& key : model_keys()) {
    if (const auto field = config.find(key.name)) json.set(key.name, field->value());
  }
  if (json.find("share_encoder_decoder_embeddings") == nullptr) {
    json.set("share_encoder_decoder_embeddings", one_vocabulary);
  }
  if (json.find("add_final_layer_norm") == nullptr) {
    json.set("add_final_layer_norm", config["normalize_before"].boolean());
  }
  return json;
}

model::ModelFiles new_model(const io::Field& config) {
  model::ModelFiles vocabularies;
  set_vocabularies(config, vocabularies);
  const text::Tokenizer source = text::load_tokenizer(vocabularies.source_vocabulary);
  const text::Tokenizer target = text::load_tokenizer(vocabularies.target_vocabulary);
  const bool one = vocabularies.source_vocabulary == vocabularies.target_vocabulary;
  HEDDLE_CHECK(target.eos() >= 0 && source.eos() == target.eos(), "vocab: found the end </s> as ",
               source.eos(), " and ", target.eos(),
               "; expected the same id in both (heddle vocab)");
  io::Value json = architecture_of(config, one);
  json.set("model_type", "heddle");
  json.set("vocab_size", int64_t{source.size()});
  json.set("decoder_vocab_size", int64_t{target.size()});
  json.set("eos_token_id", int64_t{target.eos()});
  json.set("unk_token_id", int64_t{std::max(target.unk(), 0)});
  json.set("pad_token_id", int64_t{target.pad()});
  const bool as_marian =
      io::Field(json, "model").text_or("position_embedding_type", "") == "sinusoidal_marian";
  const int64_t start = as_marian ? -1 : target.pad();  // −1: the zero vector, as in Marian
  json.set("decoder_start_token_id", start);
  const auto seed = static_cast<uint64_t>(config["seed"].integer(0, INT64_MAX));
  model::ModelFiles files = model::random_model(model::read_config({json, "model"}), seed);
  files.source_vocabulary = vocabularies.source_vocabulary;
  files.target_vocabulary = vocabularies.target_vocabulary;
  return files;
}

}  // namespace

std::vector<std::string> texts_of(const io::Field& config, std::string_view key) {
  std::vector<std::string> texts;
  const auto found = config.find(key);
  if (!found) return texts;
  for (const io::Field& item : found->items()) texts.push_back(item.text());
  return texts;
}

std::vector<data::CorpusFiles> corpus_of(const io::Field& config, const std::string& side) {
  const std::vector<std::string> files = texts_of(config, side + "_file");
  const std::vector<std::string> targets = texts_of(config, side + "_target_file");
  HEDDLE_CHECK(targets.empty() || targets.size() == files.size(), side, "_target_file: found ",
               targets.size(), " files; expected ", files.size(), ", one for each of ", side,
               "_file");
  std::vector<data::CorpusFiles> corpus;
  for (size_t i = 0; i < files.size(); ++i) {
    data::CorpusFiles set;
    if (targets.empty()) {
      set.pairs = files[i];
    } else {
      set.source = files[i];
      set.target = targets[i];
    }
    const auto column = [&](const char* key, int64_t least) {
      return static_cast<int>(config[key].integer(least, 1000)) - 1;  // people count from 1
    };
    set.source_column = column("source_column", 1);
    set.target_column = column("target_column", 1);
    set.weight_column = column("weight_column", 0);
    set.source_field = config["source_field"].text();
    set.target_field = config["target_field"].text();
    set.weight_field = config.text_or("weight_field", "");
    corpus.push_back(set);
  }
  return corpus;
}

data::CorpusOptions corpus_options(const io::Field& config, const model::ModelFiles& model) {
  data::CorpusOptions options;
  for (const std::string* path : {&model.source_vocabulary, &model.target_vocabulary,
                                  &model.source_pieces, &model.target_pieces}) {
    if (!path->empty()) options.vocabularies.push_back(*path);
  }
  options.max_source_tokens = config["max_source_length"].integer(1, kLongest);
  options.max_target_tokens = config["max_target_length"].integer(1, kLongest);
  if (const int64_t positions = model.config.max_positions; positions > 0) {
    options.max_source_tokens = std::min(options.max_source_tokens, positions - 1);
    options.max_target_tokens = std::min(options.max_target_tokens, positions - 1);
  }
  return options;
}

model::ModelFiles starting_model(const io::Field& config) {
  const std::string path = config.text_or("model_name_or_path", "");
  if (path.empty()) return new_model(config);
  model::ModelFiles files = model::load_model(path);
  if (!texts_of(config, "vocab").empty()) set_vocabularies(config, files);
  HEDDLE_CHECK(!files.source_vocabulary.empty() && !files.target_vocabulary.empty(),
               "train: ", path,
               " has no SentencePiece vocabulary beside it; expected source.spm "
               "and target.spm, or the key vocab");
  return files;
}

train::TrainerSettings common_settings(const io::Field& config) {
  const auto count = [&](const char* key, int64_t least = 0) {
    return config[key].integer(least, kMany);
  };
  train::TrainerSettings settings;
  settings.output_dir = config.text_or("output_dir", "");
  HEDDLE_CHECK(!settings.output_dir.empty(), "output_dir: expected a folder for the run");
  settings.max_steps = count("max_steps");
  settings.schedule = {.curve = train::curve_of(config["lr_scheduler_type"].text()),
                       .peak = config["learning_rate"].number(),
                       .warmup_steps = count("warmup_steps"),
                       .last_step = settings.max_steps,
                       .least = config["min_learning_rate"].number()};
  settings.optimizer = {.beta1 = config["adam_beta1"].number(),
                        .beta2 = config["adam_beta2"].number(),
                        .epsilon = config["adam_epsilon"].number(),
                        .weight_decay = config["weight_decay"].number(),
                        .state_bits = static_cast<int>(config["optim_bits"].integer(8, 32)),
                        .ema_decay = config.number_or("ema_decay", 0)};
  settings.loss.label_smoothing = config["label_smoothing_factor"].number();
  settings.loss.seed = static_cast<uint64_t>(count("seed"));
  settings.loss.recompute = config["gradient_checkpointing"].boolean();
  settings.accumulation =
      static_cast<int>(config["gradient_accumulation_steps"].integer(1, 1 << 20));
  settings.skips_spikes = config["skip_loss_spikes"].boolean();
  settings.max_grad_norm = config["max_grad_norm"].number();
  settings.logging_steps = count("logging_steps", 1);
  settings.eval_steps = count("eval_steps");
  settings.save_steps = count("save_steps", 1);
  settings.save_total_limit = static_cast<int>(config["save_total_limit"].integer(0, 1 << 20));
  settings.early_stopping_patience = count("early_stopping_patience");
  const std::string report = config["report_to"].text();
  HEDDLE_CHECK(report == "tensorboard" || report == "none", "report_to: found '", report,
               "'; expected tensorboard or none");
  if (report == "tensorboard") settings.event_folder = io::join_path(settings.output_dir, "runs");
  return settings;
}

train::TrainerSettings trainer_settings(const io::Field& config) {
  train::TrainerSettings settings = common_settings(config);
  settings.max_epochs = config["num_train_epochs"].integer(0, kMany);
  settings.packing.max_tokens = config["max_tokens_per_batch"].integer(2, 1 << 30);
  settings.packing.window = config["shuffle_window"].integer(1, kMany);
  settings.packing.seed = settings.loss.seed;
  settings.loss.dropout = config["dropout"].number();
  settings.loss.activation_dropout = config["activation_dropout"].number();
  settings.loss.z_loss = config["z_loss"].number();
  if (!texts_of(config, "teacher_model").empty()) {
    settings.loss.teacher_weight = config["teacher_weight"].number();
  }
  settings.check();
  return settings;
}

}  // namespace heddle::cli
