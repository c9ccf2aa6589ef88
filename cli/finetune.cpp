// `heddle finetune`: a language model learns from conversations.
#include <algorithm>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/finetune_keys.h"
#include "cli/finetune_setup.h"
#include "cli/format.h"
#include "cli/train_setup.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
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

io::Value fixed_of(const io::Field& config, const train::LanguageTraining& model,
                   const Examples& examples, Device device, int workers) {
  io::Value fixed;
  fixed.set("model", model::to_json(model.config()));
  fixed.set("finetuning_type", config["finetuning_type"].text());
  if (const auto lora = lora_settings(config)) {
    fixed.set("lora_rank", lora->rank);
    fixed.set("lora_scale", lora->scale());
    fixed.set("lora_dropout", lora->dropout);
    fixed.set("use_dora", lora->use_dora);
  }
  fixed.set("examples", str(examples.key));
  fixed.set("training_examples", static_cast<int64_t>(examples.split.training.size()));
  if (device.type == DeviceType::cpu) {
    fixed.set("workers", workers);
  } else {
    fixed.set("device", "cuda");
  }
  return fixed;
}

void check_method(const io::Field& config) {
  const std::string stage = config["stage"].text();
  HEDDLE_CHECK(stage == "sft", "stage: found ", io::quoted(stage), "; expected sft");
  HEDDLE_CHECK(!texts_of(config, "dataset").empty(), "dataset: expected files of conversations");
  HEDDLE_CHECK(!config.text_or("model_name_or_path", "").empty(),
               "model_name_or_path: expected a Hugging Face directory or a GGUF file");
  const double epochs = config["num_train_epochs"].number();
  HEDDLE_CHECK(config["max_steps"].integer(0, INT64_MAX) > 0 || epochs > 0,
               "num_train_epochs: found ", epochs, "; expected a number above 0, or max_steps");
}

int workers_of(const io::Field& config) {
  const int64_t workers = config["workers"].integer(0, 1024);
  return workers > 0 ? static_cast<int>(workers) : threads_of(config);
}

/// A plan for a GPU may be made where there is none.
Device planned_device(const io::Field& config) {
  if (config["device"].text() == "cuda") return {DeviceType::cuda, 0};
  return device_of(config);
}

void estimate(const io::Value& values) {
  const io::Field config(values, "finetune");
  const std::string path = decode::language_model_file(config["model_name_or_path"].text());
  const model::TransformerConfig model = model::load_model(path).config;
  const train::PlannedRun run = planned_run(config, workers_of(config), planned_device(config));
  const train::MemoryPlan plan = train::plan_memory(model, run);
  print(str(with_separators(plan.trained), " parameters are trained\n", plan.text()));
  check_memory(config, model, run);
}

void run_finetuning(io::Value values) {
  if (values.find("learning_rate") == nullptr) {
    const bool all = *values.find("finetuning_type")->text() == "full";
    values.set("learning_rate", all ? 2e-5 : 1e-4);
  }
  const io::Field config(values, "finetune");
  check_method(config);
  const std::string output = config.text_or("output_dir", "");
  HEDDLE_CHECK(!output.empty(), "output_dir: expected a folder for the run");
  io::make_folder(output);
  refuse_old_checkpoints(config);
  const Device device = device_of(config);
  const int threads = threads_of(config), workers = workers_of(config);
  ThreadPool pool(threads);
  const std::string path = decode::language_model_file(config["model_name_or_path"].text());
  model::ModelFiles base = model::load_model(path);
  HEDDLE_CHECK(base.config.is_language_model(), "finetune: ", path,
               ": found an encoder–decoder; expected a language model. Hint: heddle train");
  check_memory(config, base.config, planned_run(config, workers, device));

  const decode::TextFiles text = decode::load_text_files(path);
  const Examples examples = open_all(config, text, pool);
  const auto rows = row_options(config);
  const train::RowBatches batches(examples.split.training, rows,
                                  config["per_device_train_batch_size"].integer(1, 1 << 20));
  data::RowPackerOptions as_they_come = rows;
  as_they_come.shuffle = false;
  const train::RowBatches held_out(examples.split.held_out, as_they_come, 1);

  auto adapter = starting_adapter(config, base);
  const auto model =
      train::make_language_training(std::move(base), std::move(adapter), device, pool);
  train::TrainerSettings settings = finetune_settings(config, batches);
  settings.loss.workers = workers;
  settings.fixed = fixed_of(config, *model, examples, device, workers);
  settings.peak_flops = peak_flops_of(device, threads);
  io::write_file(io::join_path(output, "train_config.json"), io::to_json(values, 2) + "\n");
  say(str("model: ", with_separators(model->parameters()), " parameters are trained; ",
          settings.max_steps, " steps, ",
          device.type == DeviceType::cuda ? cuda::device_name(device.index)
                                          : str(threads, " threads")));

  train::TrainerHooks hooks;
  attach_run(hooks, pool, settings.max_steps);
  hooks.evaluated = [](const io::Value& record, bool is_best) {
    say("evaluation: " + io::to_json(record) + (is_best ? "  best so far" : ""));
  };
  const train::TrainerResult result =
      train::train(*model, batches, held_out.empty() ? nullptr : &held_out, settings, hooks);
  say(str("step ", result.state.step, ": ", name_of(result.end)));
  if (result.end == train::End::stopped) return;
  model->save_result(output, io::system_files());
  say(model->has_adapter() ? str("adapter: ", output, " (heddle merge --adapter ", output, ")")
                           : str("model: ", output, " (heddle generate --model ", output, ")"));
}

}  // namespace

void add_finetune_command(const Command& parent) {
  const Command command = parent.add_command(
      "finetune", "Fine-tune a language model on conversations: LoRA or all of it");
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
      "  heddle merge --adapter run --output model\n"
      "  heddle plot run --output curves.svg");
  command.run([options] {
    io::Value config = finetune_table().read(options->config);
    options->flags.apply(config);
    options->estimate ? estimate(config) : run_finetuning(std::move(config));
  });
}

}  // namespace heddle::cli
