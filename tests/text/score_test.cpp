// BLEU, chrF, chrF++ and TER against sacreBLEU, to the eighth digit and to the letter of the
// signature: tests/golden/scores.tsv, written by tools/make_golden_scores.py.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>

#include "heddle/base/error.h"
#include "heddle/text/score/metric.h"
#include "heddle/text/score/words.h"

namespace heddle::text::score {
namespace {

using Fields = std::vector<std::string>;

std::vector<Fields> golden_rows() {
  std::ifstream file(HEDDLE_TEST_DATA "/../golden/scores.tsv", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<Fields> rows(1);
  rows[0].emplace_back();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string& field = rows.back().back();
    if (bytes[i] == '\n') {
      rows.push_back({""});
    } else if (bytes[i] == '\t') {
      rows.back().emplace_back();
    } else if (bytes[i] == '\\') {
      field += bytes[++i] == 't' ? '\t' : '\\';
    } else {
      field += bytes[i];
    }
  }
  rows.pop_back();
  rows.erase(rows.begin());  // the comment
  return rows;
}

struct Texts {
  std::vector<std::string> hypotheses;
  std::vector<std::vector<std::string>> references;
};

std::map<std::string, Texts> golden_texts(const std::vector<Fields>& rows) {
  std::map<std::string, Texts> sets;
  for (const Fields& row : rows) {
    if (row[0] != "T") continue;
    Texts& texts = sets[row[1]];
    texts.hypotheses.push_back(row[3]);
    texts.references.resize(row.size() - 4);
    for (size_t r = 4; r < row.size(); ++r) texts.references[r - 4].push_back(row[r]);
  }
  return sets;
}

MetricOptions options_of(const std::string& text, bool single) {
  MetricOptions options;
  options.effective_order = single;
  options.lowercase = text.find("lowercase") != text.npos;
  const std::string first = text.substr(0, text.find(','));
  if (first != "-" && first != "lowercase") options.tokenization = tokenization_of(first);
  return options;
}

TEST(Score, TextsAreThoseOfSacrebleu) {
  const std::vector<Fields> rows = golden_rows();
  ASSERT_GE(rows.size(), 500u);
  const auto sets = golden_texts(rows);
  size_t checked = 0;
  for (const Fields& row : rows) {
    if (row[0] != "C") continue;
    const Texts& texts = sets.at(row[1]);
    const auto metric = make_metric(row[2], options_of(row[3], false));
    EXPECT_EQ(score_corpus(*metric, texts.hypotheses, texts.references).format(8), row[5])
        << row[1] << " " << row[2] << " " << row[3];
    ++checked;
  }
  EXPECT_GE(checked, 80u);
}

TEST(Score, SentencesAreThoseOfSacrebleu) {
  const std::vector<Fields> rows = golden_rows();
  const auto sets = golden_texts(rows);
  std::map<std::string, std::vector<Score>> known;
  for (const Fields& row : rows) {
    if (row[0] != "S") continue;
    const Texts& texts = sets.at(row[1]);
    auto& scores = known[row[1] + row[2] + row[3]];
    if (scores.empty()) {
      const auto metric = make_metric(row[2], options_of(row[3], true));
      scores = score_sentences(*metric, texts.hypotheses, texts.references);
    }
    EXPECT_EQ(fixed(scores.at(static_cast<size_t>(std::stoi(row[4]))).value, 8), row[5])
        << row[1] << " " << row[2] << " " << row[3] << " line " << row[4];
  }
}

TEST(Score, RefusesWhatDoesNotFit) {
  const auto metric = make_metric("bleu");
  const std::vector<std::string> one{"a"};
  EXPECT_THROW(score_corpus(*metric, one, {}), Error);
  EXPECT_THROW(score_corpus(*metric, {}, std::vector<std::vector<std::string>>{{}}), Error);
  EXPECT_THROW(score_corpus(*metric, one, std::vector<std::vector<std::string>>{{"a", "b"}}),
               Error);
  EXPECT_THROW(make_metric("comet"), Error);
  EXPECT_THROW(tokenization_of("flores200"), Error);
}

TEST(Score, PerfectTextsHaveFullMarks) {
  const std::vector<std::string> lines{"The cat sat on the mat.", "All is well that ends well."};
  const std::vector<std::vector<std::string>> same{lines};
  EXPECT_EQ(fixed(score_corpus(*make_metric("bleu"), lines, same).value, 6), "100.000000");
  EXPECT_EQ(score_corpus(*make_metric("chrf++"), lines, same).value, 100);
  EXPECT_EQ(score_corpus(*make_metric("ter"), lines, same).value, 0);
}

TEST(Words, ArePythons) {
  using Words = std::vector<std::string_view>;
  EXPECT_EQ(split_words(" a\u00A0b\u2003c\x1c"
                        "d  "),
            (Words{"a", "b", "c", "d"}));
  EXPECT_EQ(split_words("a\u200Bb"), (Words{"a\u200Bb"}));
  EXPECT_EQ(strip("\u3000 a b \u0085"), "a b");
  EXPECT_EQ(lower("ΑΣ İ ẞ"), "ας i\u0307 ß");
}

}  // namespace
}  // namespace heddle::text::score
