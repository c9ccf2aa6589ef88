// `heddle translate`: lines of text in, translations out.
#include <signal.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <type_traits>

#include "cli/commands.h"
#include "cli/default_model.h"
#include "cli/translate_files.h"
#include "cli/translate_quality.h"
#include "cli/translate_report.h"
#include "heddle/base/error.h"
#include "heddle/decode/translator.h"

namespace heddle::cli {

namespace {

constexpr double kCheckpointSeconds = 2;
constexpr int kStopped = 130;  // as a shell says for a process that was interrupted

std::atomic<bool> stop_requested{false};

extern "C" void request_stop(int) { stop_requested = true; }

/// The options as the command line has them.
struct Options {
  std::vector<std::string> models;
  std::string in, out, json, prefix, references;
  std::string precision = "native", alignments = "none";
  std::string device = "cpu";
  int64_t threads = 0, decoders = 3;
  double gpu_memory = 0;
  int64_t rows = 0, encode_tokens = 0, refill_rows = 0, window_lines = 0;
  int64_t max_source_tokens = 256, max_line_bytes = 4 << 20;
  int64_t beam = 1, n_best = 1, top_k = 0, seed = 1, no_repeat_ngram = 0, min_length = 0;
  double length_penalty = 1, patience = 1, max_length_factor = 3, temperature = 1, top_p = 1;
  double repetition_penalty = 1;
  std::string shortlist_file;
  bool shortlist = false, sample = false, scores = false, profile = false, quiet = false;
  bool restart = false, tab_prefix = false, allow_unknown = false, split_sentences = false;
  std::string source_language;
  bool serial_text = false, unfused = false, no_graphs = false;
};

DeviceType device_of(const std::string& name) {
  if (name == "cpu") return DeviceType::cpu;
  HEDDLE_CHECK(name == "cuda", "--device: found '", name, "'; expected cpu or cuda");
  return DeviceType::cuda;
}

Columns columns_of(const Options& options) {
  Columns columns;
  columns.number = options.n_best > 1;
  columns.score = options.n_best > 1 || options.scores;
  columns.token_scores = options.scores;
  if (options.alignments == "hard") columns.alignment = Columns::Alignment::hard;
  if (options.alignments == "soft") columns.alignment = Columns::Alignment::soft;
  HEDDLE_CHECK(columns.alignment != Columns::Alignment::none || options.alignments == "none",
               "--alignments: found '", options.alignments, "'; expected none, hard or soft");
  return columns;
}

decode::TranslatorSettings settings_of(const Options& options) {
  using decode::TranslatorSettings;
  TranslatorSettings settings = TranslatorSettings::of(device_of(options.device));
  const auto replace = [](auto& setting, int64_t given) {
    if (given != 0) setting = static_cast<std::remove_reference_t<decltype(setting)>>(given);
  };
  settings.decoders = static_cast<int>(options.decoders);
  HEDDLE_CHECK(options.gpu_memory >= 0 && options.gpu_memory < 1e6, "--gpu-memory: found ",
               options.gpu_memory, "; expected GiB, 0 or more");
  settings.gpu_memory = static_cast<int64_t>(options.gpu_memory * (int64_t{1} << 30));
  settings.threads = static_cast<int>(options.threads);
  settings.precision = ops::precision_named(options.precision, "--precision");
  settings.shortlist = options.shortlist;
  settings.shortlist_file = options.shortlist_file;
  replace(settings.rows, options.rows);
  replace(settings.encode_tokens, options.encode_tokens);
  replace(settings.refill_rows, options.refill_rows);
  replace(settings.window_lines, options.window_lines);
  settings.max_source_tokens = options.max_source_tokens;
  settings.max_line_bytes = options.max_line_bytes;
  settings.split_sentences = options.split_sentences;
  settings.source_language = options.source_language;
  settings.allow_unknown = options.allow_unknown;
  settings.parallel_text = !options.serial_text;
  settings.fused_choice = !options.unfused;
  settings.graphs = !options.no_graphs;
  return settings;
}

decode::Options decode_options_of(const Options& options) {
  decode::Options decode;
  decode.beam = static_cast<int>(options.beam);
  decode.n_best = static_cast<int>(options.n_best);
  decode.length_penalty = options.length_penalty;
  decode.patience = options.patience;
  decode.max_length_factor = options.max_length_factor;
  decode.min_length = options.min_length;
  decode.sampling = {options.sample, options.temperature, static_cast<int>(options.top_k),
                     options.top_p, static_cast<uint64_t>(options.seed)};
  decode.repetition = {options.repetition_penalty, static_cast<int>(options.no_repeat_ngram)};
  decode.scores = options.scores || options.n_best > 1;
  decode.alignments = options.alignments != "none";
  decode.check();
  return decode;
}

/// One line that says what a run would do: a run continues only one that would do the same.
std::string task_of(const Options& o) {
  std::string models;
  for (const std::string& model : o.models) models += model + " ";
  return str("heddle-translate 1: ", o.in, " (", std::filesystem::file_size(o.in), " bytes) with ",
             models, o.precision, " beam ", o.beam, " ", o.n_best, " ", o.length_penalty, " ",
             o.patience, " ", o.max_length_factor, " ", o.min_length, " sample ", o.sample, " ",
             o.temperature, " ", o.top_k, " ", o.top_p, " ", o.seed, " repetition ",
             o.repetition_penalty, " ", o.no_repeat_ngram, " shortlist ", o.shortlist, " ",
             o.shortlist_file, " columns ", o.scores, " ", o.alignments, " text ", o.prefix, " ",
             o.tab_prefix, " ", o.split_sentences, " ", o.source_language, " ", o.max_source_tokens,
             " ", o.max_line_bytes, " ", o.allow_unknown,
             o.device == "cpu" ? "" : " device " + o.device);
}

/// The run: a reader on one side, outputs in order on the other, and where each line ended in the
/// input, for a later run that continues.
class Translation {
 public:
  explicit Translation(const Options& options)
      : options_(options),
        columns_(columns_of(options)),
        decode_(decode_options_of(options)),
        reader_(options.in, options.max_line_bytes, stop_requested) {
    if (!options.out.empty()) {
      output_.emplace(options.out, task_of(options), options.restart);
      start_ = output_->start();
      if (start_.in_bytes > 0) reader_.seek(start_.in_bytes);
    }
    done_ = start_;
    if (!options.references.empty()) quality_.emplace(options.references);
    HEDDLE_CHECK(!quality_ || start_.lines == 0,
                 "translate: --references in a run that goes on with an earlier one; expected a "
                 "whole run. Use --restart, or heddle evaluate afterwards");
  }

  Run run() {
    Run result;
    const Timer load;
    const decode::Translator translator(options_.models, settings_of(options_));
    result.load_seconds = load.seconds();
    result.first_line = start_.lines;
    const decode::Translator::Control control{
        .stop = &stop_requested,
        .first_line = static_cast<uint64_t>(start_.lines),
        .progress = [this](const decode::Statistics& statistics) { report(statistics); }};
    result.statistics = translator.translate_stream(
        [this](decode::Translator::InputLine& line) { return read(line); },
        [this](decode::Translation&& translation) { write(translation); }, decode_, control);
    progress_.clear();
    result.statistics.refused_lines += reader_.skipped();
    result.stopped = stop_requested;
    if (output_ && result.stopped) output_->checkpoint(done_.lines, done_.in_bytes);
    if (output_ && !result.stopped) output_->finish();
    if (quality_) result.quality = quality_->text();
    return result;
  }

 private:
  bool read(decode::Translator::InputLine& line) {
    if (!reader_.next(line.text)) return false;
    line.prefix = options_.prefix;
    const size_t tab = options_.tab_prefix ? line.text.find('\t') : std::string::npos;
    if (tab != std::string::npos) {
      line.prefix = line.text.substr(tab + 1);
      line.text.resize(tab);
    }
    const std::lock_guard lock(mutex_);
    ends_.push_back(reader_.offset());
    read_bytes_ = ends_.back();
    ++read_lines_;
    return true;
  }

  void write(const decode::Translation& translation) {
    const std::string text = output_text(translation, done_.lines, columns_);
    if (quality_) quality_->add(translation.text);
    if (output_) {
      output_->write(text);
    } else {
      HEDDLE_CHECK(std::fwrite(text.data(), 1, text.size(), stdout) == text.size(),
                   "translate: cannot write to standard output");
    }
    const std::lock_guard lock(mutex_);
    ++done_.lines;
    done_.in_bytes = ends_.front();
    ends_.pop_front();
    // Who reads a pipe waits for what is ready; who writes a file does not.
    if (!output_ && ends_.empty()) std::fflush(stdout);
  }

  void report(const decode::Statistics& statistics) {
    if (output_ && statistics.seconds > next_checkpoint_) {
      output_->checkpoint(done_.lines, done_.in_bytes);
      next_checkpoint_ = statistics.seconds + kCheckpointSeconds;
    }
    if (options_.quiet) return;
    progress_.show(statistics, expected_lines());
  }

  /// Lines of this run, if the rest of the file is like what was read of it.
  std::optional<double> expected_lines() {
    const std::lock_guard lock(mutex_);
    const auto read = static_cast<double>(read_bytes_ - start_.in_bytes);
    if (!reader_.size() || read <= 0) return std::nullopt;
    const auto whole = static_cast<double>(*reader_.size() - start_.in_bytes);
    return static_cast<double>(read_lines_) * whole / read;
  }

  const Options& options_;
  Columns columns_;
  decode::Options decode_;
  InputFile reader_;
  std::optional<ResumableOutput> output_;
  Checkpoint start_, done_;
  double next_checkpoint_ = kCheckpointSeconds;
  Progress progress_;
  std::optional<Quality> quality_;
  std::mutex mutex_;
  std::deque<int64_t> ends_;  // in the input, of the lines that are open
  int64_t read_bytes_ = 0, read_lines_ = 0;
};

void run(const Options& options) {
  HEDDLE_CHECK(options.out.empty() || !options.in.empty(),
               "translate: --out without --in; expected both, or neither for standard input and "
               "output");
  struct sigaction action {};
  action.sa_handler = request_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one ends at once
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  const Run result = Translation(options).run();
  HEDDLE_CHECK(std::fflush(stdout) == 0, "translate: cannot write to standard output");
  if (!options.quiet) std::fputs(summary_text(result, options.profile).c_str(), stderr);
  if (!options.json.empty()) {
    std::ofstream file(options.json, std::ios::binary);
    file << summary_json(result);
    file.close();
    HEDDLE_CHECK(file.good(), "translate: cannot write ", options.json);
  }
  if (result.stopped) std::exit(kStopped);
}

void add_search_options(const Command& command, Options& o) {
  command.option("--beam", o.beam, "hypotheses kept; 1: greedy");
  command.option("--n-best", o.n_best, "variants written, as lines: number, text, score");
  command.option("--length-penalty", o.length_penalty, "scores are divided by length^X");
  command.option("--patience", o.patience, "end with beam · X finished hypotheses");
  command.option("--max-length-factor", o.max_length_factor, "most target tokens a source token");
  command.option("--min-length", o.min_length, "tokens before the end may be chosen");
  command.flag("--sample", o.sample, "choose tokens at random, by their probabilities");
  command.option("--temperature", o.temperature, "of sampling: below 1 safer, above 1 bolder");
  command.option("--top-k", o.top_k, "sample among the N best; 0: all");
  command.option("--top-p", o.top_p, "sample among the best that reach probability X");
  command.option("--seed", o.seed, "of sampling");
  command.option("--repetition-penalty", o.repetition_penalty, "of tokens written before; 1: none");
  command.option("--no-repeat-ngram", o.no_repeat_ngram, "write no N tokens twice; 0: off");
  command.option("--prefix", o.prefix, "text that every translation begins with");
  command.flag("--tab-prefix", o.tab_prefix, "that text stands behind a tab in each line");
  command.flag("--shortlist", o.shortlist, "choose among the likely tokens, by the model's list");
  command.option("--shortlist-file", o.shortlist_file, "the same, by this Marian list", "FILE");
  command.flag("--allow-unknown", o.allow_unknown, "the unknown token may be written");
  command.flag("--scores", o.scores, "add columns: score, log-probability of each token");
  command.option("--alignments", o.alignments, "add a column: none, hard or soft", "KIND");
}

void add_run_options(const Command& command, Options& o) {
  command.option("--model", o.models,
                 "directory or file; several decide together; none: the one that is shipped, "
                 "English to German",
                 "DIR");
  command.option("--in", o.in, "text to translate; standard input when not given", "FILE");
  command.option("--out", o.out, "translations; with --in, an interrupted run can go on", "FILE");
  command.flag("--restart", o.restart, "do not go on with an interrupted run");
  command.option("--threads", o.threads, "workers; 0: one a processor");
  command.option("--precision", o.precision, "native, f32, bf16, int8, or f16 on a GPU", "KIND");
  command.option("--device", o.device, "cpu or cuda", "KIND");
  command.option("--decoders", o.decoders, "threads that decode, on a GPU; the others do the text");
  command.option("--gpu-memory", o.gpu_memory,
                 "GiB of the GPU, at most; 0: four fifths of what is free");
  command.option("--rows", o.rows, "sentences a thread decodes at once; 0: as the device likes");
  command.option("--encode-tokens", o.encode_tokens, "most tokens encoded at once; 0: the same");
  command.option("--refill-rows", o.refill_rows, "rows free before more are encoded; 0: the same");
  command.option("--window-lines", o.window_lines, "lines read ahead and sorted; 0: the same");
  command.option("--max-source-tokens", o.max_source_tokens, "longer sentences are cut");
  command.option("--max-line-bytes", o.max_line_bytes, "longer lines get an empty line");
  command.flag("--split-sentences", o.split_sentences, "translate each sentence of a line alone");
  command.option("--source-language", o.source_language, "where sentences end: en, pt, …", "CODE");
  command.flag("--serial-text", o.serial_text, "one thread does all the text");
  command.flag("--unfused-choice", o.unfused, "store all logits before the choice");
  command.flag("--no-graphs", o.no_graphs, "on a GPU: launch each kernel by itself");
  command.option("--references", o.references, "print BLEU and chrF against these lines", "FILE");
  command.flag("--profile", o.profile, "say where the time goes");
  command.option("--json", o.json, "write the summary to a file", "FILE");
  command.flag("--quiet", o.quiet, "neither progress nor summary");
}

}  // namespace

void add_translate_command(const Command& parent) {
  const Command command = parent.add_command("translate", "Translates lines of text");
  const auto options = std::make_shared<Options>();
  add_run_options(command, *options);
  add_search_options(command, *options);
  command.footer(
      "One line of output for each line of input, whatever comes. Progress and a summary go to\n"
      "stderr. Columns are separated by tabs.\n\n"
      "Examples:\n"
      "  echo 'The disk is full.' | heddle translate\n"
      "  heddle translate --model MODEL --in book.en --out book.pt --beam 4\n"
      "  heddle translate --model MODEL --n-best 4 --beam 4 < lines.txt\n"
      "  heddle translate --model MODEL --sample --top-k 10 --seed 7 < lines.txt");
  command.run([options] {
    if (options->models.empty()) options->models.push_back(default_model());
    run(*options);
  });
}

}  // namespace heddle::cli
