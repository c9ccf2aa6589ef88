#include "cli/finetune_run.h"

#include <utility>

#include "cli/finetune_setup.h"
#include "cli/format.h"
#include "cli/train_setup.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"
#include "heddle/tensor/cuda.h"

namespace heddle::cli {

namespace {

std::string output_of(const io::Field& config) {
  check_method(config);
  const std::string output = config.text_or("output_dir", "");
  HEDDLE_CHECK(!output.empty(), "output_dir: expected a folder for the run");
  io::make_folder(output);
  refuse_old_checkpoints(config);
  return output;
}

}  // namespace

FinetuneRun::FinetuneRun(const io::Value& all)
    : values(all),
      config(all, "finetune"),
      output(output_of(config)),
      device(device_of(config)),
      threads(threads_of(config)),
      workers(workers_of(config)),
      pool(threads),
      path(decode::language_model_file(config["model_name_or_path"].text())),
      base(model::load_model(path)) {
  HEDDLE_CHECK(base.config.is_language_model(), "finetune: ", path,
               ": found an encoder–decoder; expected a language model. Hint: heddle train");
  HEDDLE_CHECK(!base.config.scores || stage_of(config) == Stage::rm, "finetune: ", path,
               ": found a reward model; expected one that writes, or stage rm");
}

int workers_of(const io::Field& config) {
  const int64_t workers = config["workers"].integer(0, 1024);
  return workers > 0 ? static_cast<int>(workers) : threads_of(config);
}

void check_method(const io::Field& config) {
  const bool sft = stage_of(config) == Stage::sft;
  HEDDLE_CHECK(!texts_of(config, "dataset").empty(), "dataset: expected files of ",
               sft ? "conversations" : "questions with ranked answers");
  HEDDLE_CHECK(!config.text_or("model_name_or_path", "").empty(),
               "model_name_or_path: expected a Hugging Face directory or a GGUF file");
  const double epochs = config["num_train_epochs"].number();
  HEDDLE_CHECK(config["max_steps"].integer(0, INT64_MAX) > 0 || epochs > 0,
               "num_train_epochs: found ", epochs, "; expected a number above 0, or max_steps");
}

io::Value fixed_of(const FinetuneRun& run, const train::LanguageTraining& model, uint64_t key,
                   uint64_t training_examples) {
  io::Value fixed;
  fixed.set("model", model::to_json(model.config()));
  fixed.set("finetuning_type", run.config["finetuning_type"].text());
  if (const auto lora = lora_settings(run.config)) {
    fixed.set("lora_rank", lora->rank);
    fixed.set("lora_scale", lora->scale());
    fixed.set("lora_dropout", lora->dropout);
    fixed.set("use_dora", lora->use_dora);
  }
  fixed.set("examples", str(key));
  fixed.set("training_examples", static_cast<int64_t>(training_examples));
  if (run.device.type == DeviceType::cpu) {
    fixed.set("workers", run.workers);
  } else {
    fixed.set("device", "cuda");
  }
  return fixed;
}

void train_and_save(FinetuneRun& run, train::LanguageTraining& model, const RunData& data,
                    io::Value fixed) {
  train::TrainerSettings settings = finetune_settings(run.config, data.batches_in_epoch);
  settings.loss.workers = run.workers;
  settings.fixed = std::move(fixed);
  settings.peak_flops = peak_flops_of(run.device, run.threads);
  io::write_file(io::join_path(run.output, "train_config.json"), io::to_json(run.values, 2) + "\n");
  say(str("model: ", with_separators(model.parameters()), " parameters are trained; ",
          settings.max_steps, " steps, ",
          run.device.type == DeviceType::cuda ? cuda::device_name(run.device.index)
                                              : str(run.threads, " threads")));

  train::TrainerHooks hooks;
  attach_run(hooks, run.pool, settings.max_steps);
  hooks.evaluated = [](const io::Value& record, bool is_best) {
    say("evaluation: " + io::to_json(record) + (is_best ? "  best so far" : ""));
  };
  const train::TrainerResult result = train::train(
      model, data.batches, data.held_out.empty() ? nullptr : &data.held_out, settings, hooks);
  say(str("step ", result.state.step, ": ", name_of(result.end)));
  if (result.end == train::End::stopped) return;
  model.save_result(run.output, io::system_files());
  if (model.has_adapter()) {
    say(str("adapter: ", run.output, " (heddle merge --adapter ", run.output, ")"));
  } else {
    say(str("model: ", run.output, " (heddle ", model.config().scores ? "score" : "generate",
            " --model ", run.output, ")"));
  }
}

}  // namespace heddle::cli
