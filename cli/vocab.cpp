// `heddle vocab`: a SentencePiece vocabulary from text.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/lists.h"
#include "heddle/base/error.h"
#include "heddle/data/input_file.h"
#include "heddle/data/pair_format.h"
#include "heddle/io/atomic_file.h"
#include "heddle/text/line_reader.h"
#include "heddle/text/normalize.h"
#include "heddle/text/tokenizer.h"
#include "heddle/text/vocabulary_training.h"

namespace heddle::cli {

namespace {

struct Options {
  std::vector<std::string> inputs;
  std::string output, columns = "1,2", model_type = "unigram";
  int64_t size = 8000, lines = 5'000'000, seed = 1;
  double coverage = 0.9995;
  bool byte_fallback = false;
};

/// Whether a line of this file holds several texts.
bool has_columns(const std::string& path) { return path.find(".tsv") != path.npos; }

/// All texts of all files, one behind another.
class Texts {
 public:
  explicit Texts(const Options& options)
      : options_(options), columns_(number_list("--columns", options.columns)) {
    for (const int64_t column : columns_) {
      HEDDLE_CHECK(column >= 1 && column <= 1000, "--columns: found ", column,
                   "; expected numbers from 1");
    }
  }

  bool next(std::string_view& text) {
    while (at_ == cells_.size()) {
      if (!reader_ && !open()) return false;
      if (reader_->next(line_)) {
        cut();
      } else {
        reader_.reset();
      }
    }
    text::LineFaults faults;
    text = text::normalize_line(cells_[at_++], storage_, faults);
    return true;
  }

 private:
  bool open() {
    if (file_ == options_.inputs.size()) return false;
    path_ = options_.inputs[file_++];
    HEDDLE_CHECK(!data::is_jsonl(path_), "vocab: ", path_,
                 " is jsonl; expected lines of text or a TSV");
    reader_.emplace(data::open_text(path_, data::state_of_file(path_)), path_);
    std::fprintf(stderr, "reading %s\n", path_.c_str());
    return true;
  }

  /// The texts of the line: all of it, or the columns that are asked for.
  void cut() {
    cells_.clear();
    at_ = 0;
    if (!has_columns(path_)) {
      cells_.emplace_back(line_);
      return;
    }
    std::vector<std::string_view> all;
    for (std::string_view rest = line_;;) {
      const size_t tab = std::min(rest.find('\t'), rest.size());
      all.push_back(rest.substr(0, tab));
      if (tab == rest.size()) break;
      rest.remove_prefix(tab + 1);
    }
    for (const int64_t column : columns_) {
      HEDDLE_CHECK(column <= std::ssize(all), "vocab: ", path_, ": line ", reader_->lines(),
                   ": found ", all.size(), " columns; expected at least ", column, " (--columns)");
      cells_.push_back(all[static_cast<size_t>(column - 1)]);
    }
  }

  const Options& options_;
  std::vector<int64_t> columns_;
  size_t file_ = 0;
  std::string path_, line_, storage_;
  std::vector<std::string_view> cells_;  // of the line
  size_t at_ = 0;                        // the next of them
  std::optional<text::LineReader> reader_;
};

void make_vocabulary(const Options& options) {
  HEDDLE_CHECK(!options.inputs.empty(), "vocab: expected --input FILE");
  HEDDLE_CHECK(!options.output.empty(), "vocab: expected --output FILE, as vocab.spm");
  Texts texts(options);
  text::VocabularySettings settings{.size = options.size,
                                    .model_type = options.model_type,
                                    .character_coverage = options.coverage,
                                    .byte_fallback = options.byte_fallback,
                                    .most_lines = options.lines,
                                    .seed = static_cast<uint64_t>(options.seed)};
  const text::TrainedVocabulary made = text::train_vocabulary(
      [&texts](std::string_view& text) { return texts.next(text); }, settings);
  const text::Tokenizer check = text::make_tokenizer(made.model, options.output);
  io::write_file(options.output, made.model);
  std::fprintf(stderr, "%s: %d pieces from %llu of %llu lines\n", options.output.c_str(),
               check.size(), static_cast<unsigned long long>(made.sampled),
               static_cast<unsigned long long>(made.lines));
}

}  // namespace

void add_vocab_command(const Command& parent) {
  const Command command = parent.add_command("vocab", "Make a SentencePiece vocabulary from text");
  const auto options = std::make_shared<Options>();
  command.option("--input", options->inputs,
                 "Text or .tsv, plain, .zst or .gz; given again, one vocabulary of all", "FILE");
  command.option("--output", options->output, "The SentencePiece model", "FILE");
  command.option("--size", options->size, "Pieces");
  command.option("--columns", options->columns, "Of a TSV, counted from 1", "LIST");
  command.option("--model-type", options->model_type, "unigram or bpe", "NAME");
  command.option("--character-coverage", options->coverage,
                 "Share of characters with pieces; 1 for small alphabets");
  command.flag("--byte-fallback", options->byte_fallback, "Other characters become bytes");
  command.option("--lines", options->lines, "A random sample of so many; 0: all");
  command.option("--seed", options->seed, "Of the sample");
  command.footer(
      "Examples:\n"
      "  heddle vocab --input train.en-de.tsv.zst --size 8000 --output vocab.spm\n"
      "  heddle vocab --input train.tsv --columns 1 --size 4000 --output source.spm");
  command.run([options] { make_vocabulary(*options); });
}

}  // namespace heddle::cli
