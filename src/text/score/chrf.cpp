// chrF (Popović 2015): F-score of character 1- to 6-grams without white space, recall counting
// twice; chrF++ adds words and pairs of words.
#include "heddle/base/error.h"
#include "heddle/text/score/metrics_internal.h"
#include "heddle/text/score/ngrams.h"
#include "heddle/text/score/words.h"

namespace heddle::text::score {

namespace {

constexpr size_t kCharacterOrders = 6;
constexpr double kFactor = 4;  // beta = 2, squared

bool is_punctuation(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte < 0x7F &&
         !((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'));
}

/// The words, with one mark at an end taken off as a word of its own: the last one, else the first.
std::vector<std::string_view> words_and_marks(std::string_view text) {
  std::vector<std::string_view> words;
  for (const std::string_view word : split_words(text)) {
    const bool is_one = static_cast<unsigned char>(word[0]) < 0x80 ? word.size() == 1
                                                                   : code_points(word).size() == 1;
    if (!is_one && is_punctuation(word.back())) {
      words.push_back(word.substr(0, word.size() - 1));
      words.push_back(word.substr(word.size() - 1));
    } else if (!is_one && is_punctuation(word.front())) {
      words.push_back(word.substr(0, 1));
      words.push_back(word.substr(1));
    } else {
      words.push_back(word);
    }
  }
  return words;
}

class Chrf : public Metric {
 public:
  Chrf(const MetricOptions& options, int word_order)
      : lowercase_(options.lowercase), word_orders_(static_cast<size_t>(word_order)) {}

  /// For each order: n-grams of the hypothesis, of the reference, and matches; of the reference
  /// with the best F-score.
  Counts measure(std::string_view hypothesis,
                 std::span<const std::string_view> references) const override {
    std::vector<std::string> texts{prepared(hypothesis)};
    for (const std::string_view reference : references) texts.push_back(prepared(reference));
    WordNumbers numbers;
    const std::vector<Ngrams> found = ngrams_of(texts[0], numbers);
    Counts best;
    double best_score = -1;
    for (size_t r = 1; r < texts.size(); ++r) {
      const std::vector<Ngrams> expected = ngrams_of(texts[r], numbers);
      Counts counts;
      for (size_t order = 0; order < found.size(); ++order) {
        const bool none = expected[order].empty();
        counts.push_back(none ? 0 : static_cast<double>(count_all(found[order])));
        counts.push_back(static_cast<double>(count_all(expected[order])));
        counts.push_back(static_cast<double>(count_matches(found[order], expected[order])));
      }
      const double score = f_score(counts);
      if (score > best_score) {
        best_score = score;
        best = std::move(counts);
      }
    }
    return best;
  }

  Score score(const Counts& counts, size_t references) const override {
    return {"chrF2" + std::string(word_orders_, '+'),
            f_score(counts),
            str("nrefs:", references, "|case:", lowercase_ ? "lc" : "mixed", "|eff:yes|nc:",
                kCharacterOrders, "|nw:", word_orders_, "|space:no|version:", kSacrebleuVersion),
            {}};
  }

 private:
  std::string prepared(std::string_view line) const {
    return lowercase_ ? lower(line) : std::string(line);
  }

  std::vector<Ngrams> ngrams_of(const std::string& text, WordNumbers& numbers) const {
    std::vector<uint32_t> characters;
    for (const char32_t c : code_points(text)) {
      // One more, as 0 fills n-grams that are not there.
      if (!is_python_space(c)) characters.push_back(static_cast<uint32_t>(c) + 1);
    }
    std::vector<Ngrams> ngrams;
    for (size_t n = 1; n <= kCharacterOrders; ++n)
      ngrams.push_back(count_ngrams(characters, n, 21));
    if (word_orders_ == 0) return ngrams;
    const std::vector<uint32_t> words = numbers.of(words_and_marks(text));
    for (size_t n = 1; n <= word_orders_; ++n) ngrams.push_back(count_ngrams(words, n, 32));
    return ngrams;
  }

  static double f_score(const Counts& counts) {
    double precision = 0, recall = 0;
    int orders = 0;
    for (size_t i = 0; i + 2 < counts.size(); i += 3) {
      if (counts[i] == 0 || counts[i + 1] == 0) continue;
      precision += counts[i + 2] / counts[i];
      recall += counts[i + 2] / counts[i + 1];
      ++orders;
    }
    if (orders == 0) return 0;
    precision /= orders;
    recall /= orders;
    if (precision + recall == 0) return 0;
    double score = (1 + kFactor) * precision * recall;
    score /= kFactor * precision + recall;
    return 100 * score;
  }

  bool lowercase_;
  size_t word_orders_;
};

}  // namespace

std::unique_ptr<Metric> make_chrf(const MetricOptions& options, int word_order) {
  return std::make_unique<Chrf>(options, word_order);
}

}  // namespace heddle::text::score
