// `heddle finetune --stage dpo` and `rm`: a language model learns from ranked answers.
#include <memory>
#include <optional>
#include <utility>

#include "cli/finetune_run.h"
#include "cli/finetune_setup.h"
#include "cli/format.h"
#include "cli/train_setup.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/data/preference_cache.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/peft.h"
#include "heddle/train/group_batches.h"
#include "heddle/train/preference.h"

namespace heddle::cli {

namespace {

constexpr uint64_t kReferenceVersion = 1;
constexpr uint64_t kToldEach = 1024;  // groups

/// Questions of one data set, with what the reference says of their answers.
struct RankedAnswers {
  data::PreferenceCache cache;
  uint64_t key = 0;
  std::optional<train::ReferenceCache> reference{};

  data::PreferenceGroups part(uint64_t first, uint64_t count) const {
    return cache.groups().part(first, count);
  }
  train::ReferenceValues values(uint64_t first, uint64_t count) const {
    return reference ? reference->values().part(first, count) : train::ReferenceValues{};
  }
};

RankedAnswers open_ranked(FinetuneRun& run, const std::string& key, const decode::TextFiles& text) {
  const io::Field& config = run.config;
  const auto chat = decode::chat_template_for(text, config.text_or("template", ""));
  data::PreferenceOptions options;
  options.files = texts_of(config, key);
  options.reading = reading_options(config);
  options.tokens = {.tokens = token_options(config),
                    .row_length = row_length(config),
                    .window = run.base.config.window,
                    .share = config["share_question"].boolean()};
  options.vocabularies = vocabularies_of(text);
  if (chat) options.chat_template = std::string(chat->name());
  const data::RenderTurns render =
      chat ? data::render_turns(*chat, text.tokenizer) : data::RenderTurns{};
  RankedAnswers made{
      data::open_preference_cache(options, text.tokenizer, render, cache_folder(config), &run.pool),
      data::preference_cache_key(options).value};
  const data::PreferenceCounts& counts = made.cache.counts();
  say(str(key, ": ", counts.summary(), "; ",
          with_separators(static_cast<int64_t>(counts.lines.tokens.tokens)), " tokens"));
  for (const std::string& warning : counts.warnings()) say("warning: " + warning);
  return made;
}

train::PreferenceSettings preference_settings(const io::Field& config) {
  if (stage_of(config) == Stage::rm) {
    const train::RewardSettings rewards{config["center_rewards_coefficient"].number()};
    rewards.check();
    return rewards;
  }
  train::DpoSettings dpo{.loss_type = train::dpo_loss_type(config["loss_type"].text()),
                         .beta = config["beta"].number(),
                         .label_smoothing = config["label_smoothing"].number(),
                         .rpo_alpha = config["rpo_alpha"].number(),
                         .reference_free = config["reference_free"].boolean()};
  dpo.check();
  return dpo;
}

/// The model that a run begins with, when no other is named.
std::string reference_path(const io::Field& config) {
  for (const char* key : {"ref_model", "adapter_name_or_path"}) {
    const std::string given = config.text_or(key, "");
    if (!given.empty()) return given;
  }
  return config["model_name_or_path"].text();
}

std::unique_ptr<train::AnswerJudge> judge_of(FinetuneRun& run) {
  const std::string path = reference_path(run.config);
  model::ModelFiles files = decode::load_merged(path);
  const model::TransformerConfig& base = run.base.config;
  HEDDLE_CHECK(files.config.is_language_model() && !files.config.scores, "ref_model: ", path,
               ": found no language model that writes; expected one");
  HEDDLE_CHECK(files.config.target_vocabulary == base.target_vocabulary, "ref_model: ", path,
               ": found ", files.config.target_vocabulary, " tokens; expected ",
               base.target_vocabulary, ", as the model that is trained has");
  HEDDLE_CHECK(files.config.window == 0 || base.window == files.config.window, "ref_model: ", path,
               ": found a window of ", files.config.window, " tokens; expected ", base.window,
               ", as in the model that is trained, or none");
  return std::make_unique<train::AnswerJudge>(std::move(files), run.pool, run.device);
}

/// What of a model's files says what it computes.
void add_files(const std::string& path, data::CacheHash& hash) {
  if (!io::is_directory(path)) return hash.add(data::state_of_file(path));
  for (const std::string& name : io::list_folder(path)) {
    const bool counts = name.ends_with(".safetensors") || name.ends_with(".gguf") ||
                        name == "config.json" || name == "adapter_config.json";
    if (counts) hash.add(data::state_of_file(io::join_path(path, name)));
  }
  if (model::is_adapter(path)) add_files(model::base_of_adapter(path), hash);
}

uint64_t reference_key(const io::Field& config, Device device) {
  data::CacheHash hash;
  hash.add("reference");
  hash.add(kReferenceVersion);
  if (device.type == DeviceType::cuda) hash.add("cuda");  // which says it in bf16
  add_files(reference_path(config), hash);
  return hash.value();
}

/// Asks the reference once, or reads what it said.
void keep_reference(FinetuneRun& run, uint64_t key_of_model, RankedAnswers& answers) {
  data::CacheHash key;
  key.add(key_of_model);
  key.add(answers.key);
  const uint64_t all = answers.cache.groups().size();
  const auto ask = [&]() -> train::AskReference {
    say(str("reference: ", reference_path(run.config), " is asked about ", all, " questions"));
    return [judge = std::shared_ptr(judge_of(run))](const data::PackedBatch& batch) {
      return (*judge)(batch);
    };
  };
  const auto tell = [all](uint64_t done) {
    if (done % kToldEach == 0) say(str("reference: ", done, " of ", all));
  };
  answers.reference.emplace(train::open_reference_cache(answers.cache.groups(), key.value(),
                                                        cache_folder(run.config), ask, tell));
}

void add_preference(const io::Field& config, uint64_t key_of_reference, io::Value& fixed) {
  for (const char* key :
       {"stage", "loss_type", "beta", "label_smoothing", "rpo_alpha", "reference_free",
        "precompute_ref_log_probs", "center_rewards_coefficient"}) {
    fixed.set(key, config[key].value());
  }
  if (key_of_reference != 0) fixed.set("reference", str(key_of_reference));
}

}  // namespace

void run_alignment(const io::Value& values) {
  FinetuneRun run(values);
  const io::Field& config = run.config;
  const train::PreferenceSettings settings = preference_settings(config);
  const auto* dpo = std::get_if<train::DpoSettings>(&settings);
  const bool refers = dpo != nullptr && !dpo->reference_free;
  const uint64_t key_of_reference = refers ? reference_key(config, run.device) : 0;
  if (dpo == nullptr && !run.base.config.scores) {
    const auto seed = static_cast<uint64_t>(config["seed"].integer(0, INT64_MAX));
    run.base = model::with_score(std::move(run.base), seed);
  }
  train::PlannedRun planned = planned_run(config, run.workers, run.device);
  planned.reference = reference_numbers(config, run.base.config);
  check_memory(config, run.base.config, planned);

  const decode::TextFiles text = decode::load_text_files(run.path);
  RankedAnswers training = open_ranked(run, "dataset", text);
  std::optional<RankedAnswers> validation;
  if (!texts_of(config, "eval_dataset").empty()) {
    validation.emplace(open_ranked(run, "eval_dataset", text));
  }
  const double val_size = config["val_size"].number();
  HEDDLE_CHECK(!validation || val_size == 0, "val_size: found ", val_size,
               " beside eval_dataset; expected one of them");
  const bool keeps = refers && config["precompute_ref_log_probs"].boolean();
  if (keeps) keep_reference(run, key_of_reference, training);
  if (keeps && validation) keep_reference(run, key_of_reference, *validation);

  const uint64_t all = training.cache.groups().size(), held = held_out_items(all, val_size);
  const uint64_t first = all - held;
  const auto rows = row_options(config);
  data::RowPackerOptions as_they_come = rows;
  as_they_come.shuffle = false;
  const train::GroupBatches batches(training.part(0, first), rows,
                                    config["per_device_train_batch_size"].integer(1, 1 << 20),
                                    training.values(0, first));
  const uint64_t judged = validation ? validation->cache.groups().size() : held;
  const RankedAnswers& of = validation ? *validation : training;
  const uint64_t begin = validation ? 0 : first;
  const train::GroupBatches held_out(of.part(begin, judged), as_they_come, 1,
                                     of.values(begin, judged));

  std::unique_ptr<train::AnswerJudge> judge;
  if (refers && !keeps && has_second_model(config)) judge = judge_of(run);
  auto adapter = starting_adapter(config, run.base);
  const auto model = train::make_preference_training(
      std::move(run.base), std::move(adapter), settings, std::move(judge), run.pool, run.device);
  io::Value fixed = fixed_of(run, *model, training.key, first);
  add_preference(config, key_of_reference, fixed);
  train_and_save(run, *model, {batches, batches.batches_in_epoch(), held_out}, std::move(fixed));
}

}  // namespace heddle::cli
