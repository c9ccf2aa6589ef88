// `heddle train`: a translation model from text.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

#include "cli/commands.h"
#include "cli/sgemm.h"
#include "cli/train_keys.h"
#include "cli/train_setup.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"
#include "heddle/tensor/cuda.h"
#include "heddle/text/tokenizer.h"
#include "heddle/train/checkpoint.h"
#include "heddle/train/progress.h"
#include "heddle/train/translation.h"

namespace heddle::cli {

namespace {

std::atomic<bool> stop_asked{false};

void note_signal(int) {
  if (stop_asked.exchange(true)) ::_exit(130);  // the second one
}

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = note_signal;
  for (const int number : {SIGINT, SIGTERM}) ::sigaction(number, &action, nullptr);
}

void say(const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); }

int threads_of(const io::Field& config) {
  const int64_t threads = config["threads"].integer(0, 1024);
  if (threads > 0) return static_cast<int>(threads);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

data::TokenCache open_texts(const io::Field& config, const std::string& side,
                            const model::ModelFiles& model, ThreadPool& threads, uint64_t& key) {
  data::CorpusOptions options = corpus_options(config, model);
  options.files = corpus_of(config, side);
  const text::Tokenizer source = text::load_tokenizer(model.source_vocabulary, model.source_pieces);
  const text::Tokenizer target = text::load_tokenizer(model.target_vocabulary, model.target_pieces);
  std::string folder = config.text_or("cache_dir", "");
  if (folder.empty()) folder = io::join_path(config["output_dir"].text(), "cache");
  key = data::cache_key(options).value;
  data::TokenCache cache = data::open_token_cache(options, {source, target}, folder, &threads);
  say(str(side, ": ", cache.counts().summary(), "; ", cache.pairs().tokens.size(), " tokens"));
  for (const std::string& warning : cache.counts().warnings()) say("warning: " + warning);
  return cache;
}

Device device_of(const io::Field& config) {
  const std::string name = config["device"].text();
  HEDDLE_CHECK(name == "auto" || name == "cpu" || name == "cuda", "device: found '", name,
               "'; expected cpu, cuda or auto");
  constexpr int kLeast = 80;  // compute capability
  const bool there = cuda::device_count() > 0;
  const bool usable = there && cuda::compute_capability(0) >= kLeast;
  HEDDLE_CHECK(name != "cuda" || usable, "device: found cuda, but ",
               !cuda::is_built() ? "this build has no CUDA"
               : !there          ? "there is no GPU here"
                                 : "the GPU is older than compute capability 8.0",
               "; expected cpu or auto");
  return {usable && name != "cpu" ? DeviceType::cuda : DeviceType::cpu, 0};
}

/// Operations a second that the device has at most, for dense bf16 as its maker says, or as
/// measured on the CPU; 0: not known.
double peak_flops_of(Device device, int threads) {
  if (device.type == DeviceType::cpu) return sgemm_rate(threads).value_or(0);
  const std::string name = cuda::device_name(device.index);
  const auto is = [&](const char* part) { return name.find(part) != std::string::npos; };
  if (is("H200") || is("H100 80GB HBM3")) return 989e12;
  return is("A100") ? 312e12 : 0;
}

/// What a resumed run must have in common with its checkpoint, beside the settings.
io::Value fixed_of(const train::TranslationModel& model, uint64_t text_key, Device device,
                   int workers) {
  io::Value fixed;
  fixed.set("model", model::to_json(model.config()));
  fixed.set("train_text", str(text_key));
  if (device.type == DeviceType::cpu) {
    fixed.set("workers", workers);
  } else {
    fixed.set("device", "cuda");
  }
  return fixed;
}

void refuse_old_checkpoints(const io::Field& config) {
  const std::string resume = config["resume_from_checkpoint"].text();
  HEDDLE_CHECK(resume == "auto" || resume == "no", "resume_from_checkpoint: found '", resume,
               "'; expected auto or no");
  const std::string folder = config["output_dir"].text();
  const auto steps = train::Checkpoints(folder, 0).steps();
  HEDDLE_CHECK(resume == "auto" || steps.empty(), "train: found ", steps.size(), " checkpoints in ",
               folder, "; expected none with resume_from_checkpoint no");
}

/// The validations of a run: text to translate, and the best model so far.
class Validation {
 public:
  Validation(const io::Field& config, train::TranslationModel& model, int threads)
      : model_(model),
        best_(io::join_path(config["output_dir"].text(), "best")),
        beam_(static_cast<int>(config["num_beams"].integer(1, 1000))),
        threads_(threads) {
    const auto lines = static_cast<size_t>(config["eval_translate_lines"].integer(0, 1 << 30));
    if (lines > 0) text_ = train::read_held_out(corpus_of(config, "validation"), lines);
  }

  void attach(train::TrainerHooks& hooks) {
    if (!text_.sources.empty()) {
      hooks.evaluate = [this](int64_t) {
        const auto scores = train::score_translations(model_.files(), text_, beam_, threads_);
        io::Value value;
        value.set("eval_bleu", scores.bleu);
        value.set("eval_chrf", scores.chrf);
        return value;
      };
    }
    hooks.evaluated = [this](const io::Value& record, bool is_best) {
      say("evaluation: " + io::to_json(record) + (is_best ? "  best so far" : ""));
      if (is_best) model::save_model(model_.files(), best_);
    };
  }

 private:
  train::TranslationModel& model_;
  train::HeldOutText text_;
  std::string best_;
  int beam_, threads_;
};

const char* name_of(train::End end) {
  switch (end) {
    case train::End::steps:
      return "all steps are done";
    case train::End::epochs:
      return "all epochs are done";
    case train::End::patience:
      return "no gain for as many validations as early_stopping_patience";
    case train::End::stopped:
      return "stopped; the same command goes on from here";
  }
  return "";
}

void run_training(const io::Value& values) {
  const io::Field config(values, "train");
  train::TrainerSettings settings = trainer_settings(config);
  HEDDLE_CHECK(!texts_of(config, "train_file").empty(), "train_file: expected files of text");
  io::make_folder(settings.output_dir);
  refuse_old_checkpoints(config);
  const int threads = threads_of(config);
  ThreadPool pool(threads);
  const Device device = device_of(config);
  const bool on_gpu = device.type == DeviceType::cuda;
  const auto made = train::make_translation_model(starting_model(config), device, pool);
  train::TranslationModel& model = *made;
  say(str("model: ", model.parameters(), " parameters, ",
          on_gpu ? cuda::device_name(device.index) : str(threads, " threads")));
  train::set_ends(model.config(), settings.packing);

  uint64_t key = 0, validation_key = 0;
  const data::TokenCache training = open_texts(config, "train", model.files(), pool, key);
  std::optional<data::TokenCache> validation;
  train::TrainerHooks hooks;
  std::optional<Validation> judge;
  if (!texts_of(config, "validation_file").empty()) {
    validation.emplace(open_texts(config, "validation", model.files(), pool, validation_key));
    judge.emplace(config, model, threads).attach(hooks);
  }
  const int64_t workers = config["workers"].integer(0, 1024);
  settings.loss.workers = workers > 0 ? static_cast<int>(workers) : threads;
  settings.fixed = fixed_of(model, key, device, settings.loss.workers);
  settings.peak_flops = peak_flops_of(device, threads);
  io::write_file(io::join_path(settings.output_dir, "train_config.json"),
                 io::to_json(values, 2) + "\n");

  watch_signals();
  hooks.threads = &pool;
  hooks.stop_requested = [] { return stop_asked.load(); };
  hooks.warn = [](const std::string& text) { say("warning: " + text); };
  hooks.report = [&settings](const train::Report& report) {
    say(train::progress_line(report, settings.max_steps));
  };
  const data::TokenPairs none;
  const train::TrainerResult result = train::train(
      model, training.pairs(), validation ? validation->pairs() : none, settings, hooks);
  say(str("step ", result.state.step, ": ", name_of(result.end)));
  if (result.end == train::End::stopped) return;
  model::save_model(model.files(), settings.output_dir);
  say(str("model: ", settings.output_dir, " (heddle translate --model ", settings.output_dir, ")"));
}

}  // namespace

void add_train_command(const Command& parent) {
  const Command command = parent.add_command("train", "Train a translation model from text");
  struct Options {
    std::string config;
    TrainFlags flags;
  };
  const auto options = std::make_shared<Options>();
  command.option("--config", options->config, "YAML: any of the keys below; flags win", "FILE");
  options->flags.add_to(command);
  command.footer(
      "A run that was stopped or cut off goes on to the bit when the same command is given again.\n"
      "SIGINT and SIGTERM save a checkpoint and leave; a second one leaves at once.\n\n"
      "Examples:\n"
      "  heddle vocab --input train.en-de.tsv --size 8000 --output vocab.spm\n"
      "  heddle train --output_dir run --train_file train.en-de.tsv --vocab vocab.spm \\\n"
      "    --validation_file dev.en-de.tsv --max_steps 20000\n"
      "  heddle train --config run.yaml --learning_rate 3e-4\n"
      "  heddle plot run --output curves.svg");
  command.run([options] {
    io::Value config = read_train_config(options->config);
    options->flags.apply(config);
    run_training(config);
  });
}

}  // namespace heddle::cli
