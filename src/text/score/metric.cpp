#include "heddle/text/score/metric.h"

#include <charconv>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"
#include "heddle/text/score/metrics_internal.h"

namespace heddle::text::score {

namespace {

void check_lengths(std::span<const std::string> hypotheses,
                   std::span<const std::vector<std::string>> references) {
  HEDDLE_CHECK(!hypotheses.empty(), "score: found no lines; expected at least one");
  HEDDLE_CHECK(!references.empty(), "score: found no references; expected at least one for a line");
  for (const auto& set : references) {
    HEDDLE_CHECK(set.size() == hypotheses.size(), "score: found ", set.size(),
                 " reference lines for ", hypotheses.size(), " hypothesis lines; expected as many");
  }
}

Counts measure_line(const Metric& metric, std::string_view hypothesis,
                    std::span<const std::vector<std::string>> references, size_t line) {
  std::vector<std::string_view> its_references;
  for (const auto& set : references) its_references.push_back(set[line]);
  return metric.measure(hypothesis, its_references);
}

}  // namespace

std::string fixed(double value, int digits) {
  char text[400];  // 309 digits before the point, and some behind
  const auto [end, error] =
      std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, digits);
  HEDDLE_CHECK(error == std::errc{}, "score: found ", digits, " digits; expected fewer");
  return {text, end};
}

std::string Score::format(int digits) const {
  std::string text = name + "|" + signature + " = " + fixed(value, digits);
  return details.empty() ? text : text + " " + details;
}

std::unique_ptr<Metric> make_metric(std::string_view name, const MetricOptions& options) {
  if (name == "bleu") return make_bleu(options);
  if (name == "chrf") return make_chrf(options, 0);
  if (name == "chrf++") return make_chrf(options, 2);
  HEDDLE_CHECK(name == "ter", "score: found the metric ", io::quoted(name),
               "; expected bleu, chrf, chrf++ or ter");
  return make_ter();
}

Score score_corpus(const Metric& metric, std::span<const std::string> hypotheses,
                   std::span<const std::vector<std::string>> references) {
  check_lengths(hypotheses, references);
  Counts total;
  for (size_t line = 0; line < hypotheses.size(); ++line) {
    const Counts counts = measure_line(metric, hypotheses[line], references, line);
    total.resize(counts.size());
    for (size_t i = 0; i < counts.size(); ++i) total[i] += counts[i];
  }
  return metric.score(total, references.size());
}

std::vector<Score> score_sentences(const Metric& metric, std::span<const std::string> hypotheses,
                                   std::span<const std::vector<std::string>> references) {
  check_lengths(hypotheses, references);
  std::vector<Score> scores;
  for (size_t line = 0; line < hypotheses.size(); ++line) {
    scores.push_back(
        metric.score(measure_line(metric, hypotheses[line], references, line), references.size()));
  }
  return scores;
}

}  // namespace heddle::text::score
