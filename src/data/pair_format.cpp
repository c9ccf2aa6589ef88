#include "heddle/data/pair_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/quoted.h"

namespace heddle::data {

namespace {

std::string place(const std::string& file, uint64_t line) { return str(file, ": line ", line); }

float checked_weight(double weight, const std::string& where) {
  HEDDLE_CHECK(weight >= 0 && weight <= 1e6, where, ": found the weight ", weight,
               "; expected one from 0 to 1000000");
  return static_cast<float>(weight);
}

class TwoFiles : public RawPairs {
 public:
  TwoFiles(const CorpusFiles& files, size_t longest, text::ReadBytes first, text::ReadBytes second)
      : files_(files),
        sources_(std::move(first), files.source, longest),
        targets_(std::move(second), files.target, longest) {}

  bool next(RawPair& pair) override {
    const bool more = sources_.next(source_);
    const bool more_targets = targets_.next(target_);
    if (more != more_targets) refuse_lengths();
    pair = {source_, target_, 1, sources_.lines(), sources_.skipped() || targets_.skipped()};
    if (pair.too_long) pair.source = pair.target = {};
    return more;
  }

 private:
  [[noreturn]] void refuse_lengths() {
    while (sources_.next(source_)) {
    }
    while (targets_.next(target_)) {
    }
    detail::throw_error(str("data: ", files_.source, " has ", sources_.lines(), " lines, ",
                            files_.target, " has ", targets_.lines(),
                            "; expected as many: line i translates line i"));
  }

  CorpusFiles files_;
  text::LineReader sources_, targets_;
  std::string source_, target_;
};

class Table : public RawPairs {
 public:
  Table(const CorpusFiles& files, size_t longest, text::ReadBytes read)
      : files_(files), lines_(std::move(read), files.pairs, longest) {}

  bool next(RawPair& pair) override {
    if (!lines_.next(line_)) return false;
    pair = {{}, {}, 1, lines_.lines(), lines_.skipped()};
    if (line_.empty()) return true;
    split();
    if (expected_ == 0) set_columns(pair.line);
    HEDDLE_CHECK(columns_.size() == expected_, "data: ", place(files_.pairs, pair.line), ": found ",
                 columns_.size(), " columns; expected ", expected_, " as in line ", first_line_);
    pair.source = columns_[static_cast<size_t>(files_.source_column)];
    pair.target = columns_[static_cast<size_t>(files_.target_column)];
    if (files_.weight_column >= 0) {
      pair.weight = weight(columns_[static_cast<size_t>(files_.weight_column)], pair.line);
    }
    return true;
  }

 private:
  void split() {
    columns_.clear();
    std::string_view rest = line_;
    for (;;) {
      const size_t tab = rest.find('\t');
      columns_.push_back(rest.substr(0, tab));
      if (tab == std::string_view::npos) return;
      rest.remove_prefix(tab + 1);
    }
  }

  void set_columns(uint64_t line) {
    const int last = std::max({files_.source_column, files_.target_column, files_.weight_column});
    HEDDLE_CHECK(std::cmp_greater(columns_.size(), last), "data: ", place(files_.pairs, line),
                 ": found ", columns_.size(), " columns; expected at least ", last + 1);
    expected_ = columns_.size();
    first_line_ = line;
  }

  float weight(std::string_view text, uint64_t line) const {
    const std::string where = "data: " + place(files_.pairs, line);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    HEDDLE_CHECK(error == std::errc() && end == text.data() + text.size(), where, ": found ",
                 io::quoted(text), "; expected a weight");
    return checked_weight(value, where);
  }

  CorpusFiles files_;
  text::LineReader lines_;
  std::string line_;
  std::vector<std::string_view> columns_;
  size_t expected_ = 0;
  uint64_t first_line_ = 0;
};

class JsonLines : public RawPairs {
 public:
  JsonLines(const CorpusFiles& files, size_t longest, text::ReadBytes read)
      : files_(files), longest_(longest), lines_(std::move(read), files.pairs, longest) {}

  bool next(RawPair& pair) override {
    if (!lines_.next(line_)) return false;
    const std::string where = "data: " + place(files_.pairs, lines_.lines());
    HEDDLE_CHECK(!lines_.skipped(), where, ": found more than ", longest_,
                 " bytes; expected a JSON object");
    const io::Value value = io::parse_json(line_, where);
    const io::Field object(value, where);
    source_ = text_of(object, files_.source_field);
    target_ = text_of(object, files_.target_field);
    pair = {source_, target_, 1, lines_.lines(), false};
    if (!files_.weight_field.empty()) {
      pair.weight = checked_weight(object[files_.weight_field].number(), where);
    }
    return true;
  }

 private:
  static std::string text_of(io::Field field, std::string_view path) {
    for (;;) {
      const size_t dot = path.find('.');
      field = field[path.substr(0, dot)];
      if (dot == std::string_view::npos) break;
      path.remove_prefix(dot + 1);
    }
    const std::string& text = field.text();
    if (text.find('\0') != std::string::npos) field.fail("a text without \\u0000");
    return text;
  }

  CorpusFiles files_;
  size_t longest_;
  text::LineReader lines_;
  std::string line_, source_, target_;
};

}  // namespace

bool is_jsonl(std::string_view name) {
  for (const std::string_view ending : {".zst", ".gz"}) {
    if (name.ends_with(ending)) name.remove_suffix(ending.size());
  }
  return name.ends_with(".jsonl");
}

std::unique_ptr<RawPairs> read_pairs(const CorpusFiles& files, size_t longest_line,
                                     text::ReadBytes first, text::ReadBytes second) {
  if (files.pairs.empty()) {
    return std::make_unique<TwoFiles>(files, longest_line, std::move(first), std::move(second));
  }
  if (is_jsonl(files.pairs)) {
    return std::make_unique<JsonLines>(files, longest_line, std::move(first));
  }
  HEDDLE_CHECK(files.source_column >= 0 && files.target_column >= 0 && files.weight_column >= -1 &&
                   files.source_column != files.target_column,
               "data: found the columns ", files.source_column, " and ", files.target_column,
               " for source and target; expected two different ones, counted from 0");
  return std::make_unique<Table>(files, longest_line, std::move(first));
}

}  // namespace heddle::data
