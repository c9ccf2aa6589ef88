#include "heddle/text/vocabulary_training.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/io/quoted.h"

namespace heddle::text {

namespace {

// Sums are formed in so many parts, each on a thread: a fixed number, for their bits depend on it.
constexpr int kParts = 16;
constexpr size_t kLongestSentence = 4192;  // bytes: libsentencepiece's own limit

/// A uniform sample of lines, in the order of the text (reservoir sampling, Vitter 1985).
class Sample {
 public:
  Sample(uint64_t most, uint64_t seed) : most_(most), random_(seed) {}

  void add(std::string_view line) {
    ++seen_;
    if (most_ == 0 || lines_.size() < most_) {
      lines_.push_back({seen_, std::string(line)});
      return;
    }
    const uint64_t place = random_.below(seen_);
    if (place < most_) lines_[place] = {seen_, std::string(line)};
  }

  std::vector<std::string> take() {
    std::sort(lines_.begin(), lines_.end(),
              [](const Line& a, const Line& b) { return a.number < b.number; });
    std::vector<std::string> texts;
    for (Line& line : lines_) texts.push_back(std::move(line.text));
    return texts;
  }

 private:
  struct Line {
    uint64_t number;
    std::string text;
  };
  uint64_t most_, seen_ = 0;
  Random random_;
  std::vector<Line> lines_;
};

class Iterator : public sentencepiece::SentenceIterator {
 public:
  explicit Iterator(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t at_ = 0;
};

void check(const VocabularySettings& settings) {
  HEDDLE_CHECK(settings.size >= 8 && settings.size <= 1'000'000, "vocab_size: found ",
               settings.size, "; expected 8 … 1000000");
  HEDDLE_CHECK(settings.model_type == "unigram" || settings.model_type == "bpe",
               "model_type: found ", io::quoted(settings.model_type), "; expected unigram or bpe");
  HEDDLE_CHECK(settings.character_coverage > 0.9 && settings.character_coverage <= 1,
               "character_coverage: found ", settings.character_coverage,
               "; expected more than 0.9, up to 1");
  HEDDLE_CHECK(settings.most_lines >= 0, "vocabulary: found a sample of ", settings.most_lines,
               " lines; expected 0 (all) or more");
}

/// libsentencepiece says what is wrong behind its own file and line: "… Vocabulary size too high
/// (8000). Please set it to a value <= 214."
std::string reason_of(const sentencepiece::util::Status& status) {
  const std::string text = status.ToString();
  const size_t bracket = text.rfind("] ");
  return bracket == text.npos || bracket + 2 >= text.size() ? text : text.substr(bracket + 2);
}

}  // namespace

TrainedVocabulary train_vocabulary(const NextLine& next, const VocabularySettings& settings) {
  check(settings);
  TrainedVocabulary result;
  Sample sample(static_cast<uint64_t>(settings.most_lines), settings.seed);
  for (std::string_view line; next(line);) {
    ++result.lines;
    if (!line.empty() && line.size() <= kLongestSentence) sample.add(line);
  }
  const std::vector<std::string> lines = sample.take();
  result.sampled = lines.size();
  HEDDLE_CHECK(!lines.empty(), "vocabulary: found no line of text; expected some");
  const std::unordered_map<std::string, std::string> options{
      {"vocab_size", str(settings.size)},
      {"model_type", settings.model_type},
      {"character_coverage", str(settings.character_coverage)},
      {"byte_fallback", settings.byte_fallback ? "true" : "false"},
      {"eos_id", "0"},
      {"unk_id", "1"},
      {"pad_id", "2"},
      {"bos_id", "-1"},
      {"num_threads", str(kParts)},
      {"input_sentence_size", "0"},
      {"minloglevel", "2"},
  };
  Iterator iterator(lines);
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &iterator, &result.model);
  HEDDLE_CHECK(status.ok(), "vocabulary: ", reason_of(status), " (", lines.size(),
               " lines were read). Hint: is it the text? Of a TSV, name its columns");
  return result;
}

}  // namespace heddle::text
