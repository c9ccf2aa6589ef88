// `heddle train`: a translation model from text.
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/train_keys.h"
#include "cli/train_setup.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"
#include "heddle/tensor/cuda.h"
#include "heddle/text/tokenizer.h"
#include "heddle/train/teacher.h"
#include "heddle/train/translation.h"

namespace heddle::cli {

namespace {

std::string cache_of(const io::Field& config) {
  const std::string folder = config.text_or("cache_dir", "");
  return folder.empty() ? io::join_path(config["output_dir"].text(), "cache") : folder;
}

data::TokenCache open_texts(const io::Field& config, const std::string& side,
                            const model::ModelFiles& model, ThreadPool& threads, uint64_t& key) {
  data::CorpusOptions options = corpus_options(config, model);
  options.files = corpus_of(config, side);
  const text::Tokenizer source = text::load_tokenizer(model.source_vocabulary, model.source_pieces);
  const text::Tokenizer target = text::load_tokenizer(model.target_vocabulary, model.target_pieces);
  const std::string folder = cache_of(config);
  key = data::cache_key(options).value;
  data::TokenCache cache = data::open_token_cache(options, {source, target}, folder, &threads);
  say(str(side, ": ", cache.counts().summary(), "; ", cache.pairs().tokens.size(), " tokens"));
  for (const std::string& warning : cache.counts().warnings()) say("warning: " + warning);
  return cache;
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

bool rounds_to_int8(const io::Field& config) {
  const int64_t bits = config["quantize_bits"].integer(0, 32);
  HEDDLE_CHECK(bits == 0 || bits == 8, "quantize_bits: found ", bits, "; expected 8 or 0");
  return bits == 8;
}

/// The validations of a run: text to translate, and the best model so far.
class Validation {
 public:
  Validation(const io::Field& config, train::TranslationModel& model, int threads)
      : model_(model),
        best_(io::join_path(config["output_dir"].text(), "best")),
        beam_(static_cast<int>(config["num_beams"].integer(1, 1000))),
        threads_(threads),
        rounds_(rounds_to_int8(config)) {
    const auto lines = static_cast<size_t>(config["eval_translate_lines"].integer(0, 1 << 30));
    if (lines > 0) text_ = train::read_held_out(corpus_of(config, "validation"), lines);
  }

  void attach(train::TrainerHooks& hooks) {
    if (!text_.sources.empty()) {
      hooks.evaluate = [this](int64_t) {
        const model::ModelFiles files =
            rounds_ ? model::quantised(model_.files(), DType::i8) : model_.files();
        const auto scores = train::score_translations(files, text_, beam_, threads_);
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
  bool rounds_;
};

/// The batches of a run, with what teachers say of them if there are any.
class Teaching {
 public:
  struct Text {
    const data::TokenPairs& pairs;
    uint64_t key;
    model::ModelFiles student;
  };
  Teaching(const io::Field& config, const Text& text, const train::BatchSource& pairs,
           ThreadPool& threads, const train::TrainerHooks& hooks)
      : plain_(pairs) {
    const train::TeacherSettings settings{texts_of(config, "teacher_model"),
                                          config["teacher_top_k"].integer(1, 64)};
    if (settings.models.empty()) return;
    say(str("teachers: ", settings.models.size()));
    const train::TeacherTask task{
        .pairs = text.pairs,
        .text_key = text.key,
        .student = text.student,
        .folder = cache_of(config),
        .device = device_of(config),
        .progress = [](uint64_t done,
                       uint64_t all) { say(str("teachers: ", done, " of ", all, " pairs")); },
        .stop_requested = hooks.stop_requested};
    choices_ = train::open_teacher_text(settings, task, threads);
    stopped_ = choices_ == nullptr;
    if (choices_) taught_.emplace(pairs, *choices_, train::teacher_key(settings, text.key));
  }

  bool stopped() const { return stopped_; }
  const train::BatchSource& batches() const {
    return taught_ ? static_cast<const train::BatchSource&>(*taught_) : plain_;
  }

 private:
  const train::BatchSource& plain_;
  std::unique_ptr<train::TeacherText> choices_;
  std::optional<train::TaughtBatches> taught_;
  bool stopped_ = false;
};

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
  const bool rounds = rounds_to_int8(config);
  if (rounds) model.round_to_int8();
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
  if (rounds) settings.fixed.set("quantize_bits", 8);
  settings.peak_flops = peak_flops_of(device, threads);
  io::write_file(io::join_path(settings.output_dir, "train_config.json"),
                 io::to_json(values, 2) + "\n");

  attach_run(hooks, pool, settings.max_steps);
  const data::TokenPairs none;
  const train::PairBatches pairs(training.pairs(), settings.packing);
  data::PackerOptions as_they_come = settings.packing;
  as_they_come.shuffle = false;
  const train::PairBatches judged(validation ? validation->pairs() : none, as_they_come);
  const Teaching teaching(config, {training.pairs(), key, model.files()}, pairs, pool, hooks);
  if (teaching.stopped()) return say("stopped; the same command goes on from here");
  const train::TrainerResult result =
      train::train(model, teaching.batches(), judged.empty() ? nullptr : &judged, settings, hooks);
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
    KeyFlags flags{train_table()};
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
    io::Value config = train_table().read(options->config);
    options->flags.apply(config);
    run_training(config);
  });
}

}  // namespace heddle::cli
