// `heddle finetune`: a language model learns from conversations; from ranked answers: align.cpp.
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/finetune_keys.h"
#include "cli/finetune_run.h"
#include "cli/finetune_setup.h"
#include "cli/format.h"
#include "cli/train_setup.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/model/formats/formats.h"
#include "heddle/tensor/cuda.h"
#include "heddle/train/language.h"

namespace heddle::cli {

namespace {

struct Options {
  std::string config;
  KeyFlags flags{finetune_table()};
  bool estimate = false;
};

/// The examples of a run, and those that it is judged by.
struct Examples {
  data::ExampleCache training;
  std::optional<data::ExampleCache> validation;
  SplitExamples split;
  uint64_t key = 0;
};

void tell(const std::string& name, const data::ExampleCache& cache) {
  const data::ConversationCounts& counts = cache.counts();
  say(str(name, ": ", counts.summary(), "; ",
          with_separators(static_cast<int64_t>(counts.tokens.tokens)), " tokens, ",
          with_separators(static_cast<int64_t>(counts.tokens.learned)), " learned"));
  for (const std::string& warning : counts.warnings()) say("warning: " + warning);
}

Examples open_all(const io::Field& config, const decode::TextFiles& text, ThreadPool& pool) {
  uint64_t key = 0, validation_key = 0;
  Examples made{open_examples(config, "dataset", text, &pool, key), {}, {}, key};
  tell("dataset", made.training);
  if (!texts_of(config, "eval_dataset").empty()) {
    made.validation.emplace(open_examples(config, "eval_dataset", text, &pool, validation_key));
    tell("eval_dataset", *made.validation);
  }
  const double val_size = config["val_size"].number();
  HEDDLE_CHECK(!made.validation || val_size == 0, "val_size: found ", val_size,
               " beside eval_dataset; expected one of them");
  made.split = split_examples(made.training.examples(), val_size);
  if (made.validation) made.split.held_out = made.validation->examples();
  return made;
}

/// A plan for a GPU may be made where there is none.
Device planned_device(const io::Field& config) {
  if (config["device"].text() == "cuda") return {DeviceType::cuda, 0};
  return device_of(config);
}

void estimate(const io::Value& values) {
  const io::Field config(values, "finetune");
  const std::string path = decode::language_model_file(config["model_name_or_path"].text());
  model::TransformerConfig model = model::load_model(path).config;
  train::PlannedRun run = planned_run(config, workers_of(config), planned_device(config));
  if (stage_of(config) == Stage::rm) model.scores = true;
  run.reference = reference_numbers(config, model);
  const train::MemoryPlan plan = train::plan_memory(model, run);
  print(str(with_separators(plan.trained), " parameters are trained\n", plan.text()));
  check_memory(config, model, run);
}

/// Usual ones, where none is given.
double usual_rate(const io::Field& config) {
  const bool all = config["finetuning_type"].text() == "full";
  switch (stage_of(config)) {
    case Stage::sft:
      return all ? 2e-5 : 1e-4;
    case Stage::dpo:
      return all ? 1e-6 : 5e-6;
    case Stage::rm:
      return all ? 1e-5 : 1e-4;
  }
  return 0;
}

void run_conversations(const io::Value& values) {
  FinetuneRun run(values);
  const io::Field& config = run.config;
  check_memory(config, run.base.config, planned_run(config, run.workers, run.device));
  const decode::TextFiles text = decode::load_text_files(run.path);
  const Examples examples = open_all(config, text, run.pool);
  const auto rows = row_options(config);
  const train::RowBatches batches(examples.split.training, rows,
                                  config["per_device_train_batch_size"].integer(1, 1 << 20));
  data::RowPackerOptions as_they_come = rows;
  as_they_come.shuffle = false;
  const train::RowBatches held_out(examples.split.held_out, as_they_come, 1);

  auto adapter = starting_adapter(config, run.base);
  const auto model =
      train::make_language_training(std::move(run.base), std::move(adapter), run.device, run.pool);
  io::Value fixed = fixed_of(run, *model, examples.key, examples.split.training.size());
  train_and_save(run, *model, {batches, batches.batches_in_epoch(), held_out}, std::move(fixed));
}

void run_finetuning(io::Value values) {
  const io::Field config(values, "finetune");
  if (values.find("learning_rate") == nullptr) values.set("learning_rate", usual_rate(config));
  if (stage_of(io::Field(values, "finetune")) == Stage::sft) return run_conversations(values);
  run_alignment(values);
}

}  // namespace

void add_finetune_command(const Command& parent) {
  const Command command = parent.add_command(
      "finetune",
      "Fine-tune a language model on conversations, or on ranked answers: DPO, reward models");
  const auto options = std::make_shared<Options>();
  command.option("--config", options->config, "YAML: any of the keys below; flags win", "FILE");
  command.flag("--estimate", options->estimate, "Print the memory that the run takes, and end");
  options->flags.add_to(command);
  command.footer(
      "A run that was stopped or cut off goes on to the bit when the same command is given again.\n"
      "SIGINT and SIGTERM save a checkpoint and leave; a second one leaves at once.\n\n"
      "Examples:\n"
      "  heddle finetune --model_name_or_path gemma-3-270m-it --dataset chats.jsonl --output_dir "
      "run\n"
      "  heddle finetune --config run.yaml --lora_rank 16 --estimate\n"
      "  heddle finetune --stage dpo --model_name_or_path gemma-3-270m-it --dataset ranked.jsonl "
      "--beta 0.1 --output_dir dpo\n"
      "  heddle finetune --stage rm --model_name_or_path gemma-3-270m-it --dataset ranked.jsonl "
      "--output_dir reward\n"
      "  heddle merge --adapter run --output model\n"
      "  heddle plot run --output curves.svg");
  command.run([options] {
    io::Value config = finetune_table().read(options->config);
    options->flags.apply(config);
    options->estimate ? estimate(config) : run_finetuning(std::move(config));
  });
}

}  // namespace heddle::cli
