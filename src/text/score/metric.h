// Quality of translations against references: BLEU, chrF, chrF++ and TER, with the numbers and the
// signatures of sacreBLEU (those of the version in the signature).
//
//   const auto metric = make_metric("bleu", {});
//   const Score score = score_corpus(*metric, hypotheses, {references});
//   score.format(1) → "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 56.2 …"
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/score/tokenization.h"

namespace heddle::text::score {

/// The version of sacreBLEU whose numbers these are.
inline constexpr std::string_view kSacrebleuVersion = "2.6.0";

struct Score {
  std::string name;       // "BLEU", "chrF2", "chrF2++", "TER"
  double value = 0;       // 0 to 100 (TER: and above)
  std::string signature;  // how it was counted
  std::string details;    // of BLEU: precisions, brevity penalty, lengths

  /// "name|signature = value details" with so many digits behind the point.
  std::string format(int digits) const;
};

/// A number with so many digits behind the point.
std::string fixed(double value, int digits);

struct MetricOptions {
  Tokenization tokenization = Tokenization::mteval13a;  // BLEU
  bool lowercase = false;                               // BLEU and chrF; TER does it always
  bool effective_order = false;                         // BLEU: for single sentences
};

/// Counts of one sentence, which add up to those of a text.
using Counts = std::vector<double>;

class Metric {
 public:
  virtual ~Metric() = default;

  /// The counts of a sentence with its references, of which there is at least one.
  virtual Counts measure(std::string_view hypothesis,
                         std::span<const std::string_view> references) const = 0;

  /// The score of counts, or of sums of them.
  virtual Score score(const Counts& counts, size_t references) const = 0;
};

/// "bleu", "chrf", "chrf++" or "ter"; throws for another name.
std::unique_ptr<Metric> make_metric(std::string_view name, const MetricOptions& options = {});

/// references[r][i] belongs to hypotheses[i]. Throws when the lengths differ or there is no line.
Score score_corpus(const Metric& metric, std::span<const std::string> hypotheses,
                   std::span<const std::vector<std::string>> references);

/// The score of each line by itself.
std::vector<Score> score_sentences(const Metric& metric, std::span<const std::string> hypotheses,
                                   std::span<const std::vector<std::string>> references);

}  // namespace heddle::text::score
