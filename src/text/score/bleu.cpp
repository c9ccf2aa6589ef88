// BLEU (Papineni et al. 2002) with exponential smoothing, as mteval-v13a and sacreBLEU count it.
#include <array>
#include <cmath>
#include <cstdlib>

#include "heddle/base/error.h"
#include "heddle/text/score/metrics_internal.h"
#include "heddle/text/score/ngrams.h"
#include "heddle/text/score/words.h"

namespace heddle::text::score {

namespace {

constexpr size_t kOrders = 4;

// Counts: length, reference length, matches of 1- to 4-grams, totals of 1- to 4-grams.
constexpr size_t kMatches = 2, kTotals = kMatches + kOrders, kCounts = kTotals + kOrders;

/// The reference length nearest to the length; the shorter of two that are equally near.
size_t nearest(size_t length, std::span<const size_t> lengths) {
  size_t best = lengths[0];
  const auto distance = [&](size_t other) {
    return other > length ? other - length : length - other;
  };
  for (const size_t other : lengths) {
    if (distance(other) < distance(best) || (distance(other) == distance(best) && other < best)) {
      best = other;
    }
  }
  return best;
}

class Bleu : public Metric {
 public:
  explicit Bleu(const MetricOptions& options) : options_(options) {}

  Counts measure(std::string_view hypothesis,
                 std::span<const std::string_view> references) const override {
    std::vector<std::string> texts{prepared(hypothesis)};
    for (const std::string_view reference : references) texts.push_back(prepared(reference));
    WordNumbers numbers;
    std::vector<std::vector<uint32_t>> words;
    std::vector<size_t> lengths;
    for (const std::string& text : texts) {
      words.push_back(numbers.of(split_words(text)));
      lengths.push_back(words.back().size());
    }
    Counts counts(kCounts);
    counts[0] = static_cast<double>(lengths[0]);
    counts[1] = static_cast<double>(nearest(lengths[0], std::span(lengths).subspan(1)));
    for (size_t n = 1; n <= kOrders; ++n) {
      const Ngrams found = count_ngrams(words[0], n, 32);
      Ngrams allowed;  // of each n-gram as many as the reference with the most has
      for (size_t r = 1; r < words.size(); ++r) {
        Ngrams merged;
        for_each_pair(allowed, count_ngrams(words[r], n, 32),
                      [&](const Ngram& ngram, int64_t a, int64_t b) {
                        merged.push_back({ngram, std::max(a, b)});
                      });
        allowed = std::move(merged);
      }
      counts[kMatches + n - 1] = static_cast<double>(count_matches(found, allowed));
      counts[kTotals + n - 1] = static_cast<double>(count_all(found));
    }
    return counts;
  }

  Score score(const Counts& counts, size_t references) const override {
    const double length = counts[0], reference_length = counts[1];
    double penalty = 1;
    if (length < reference_length) {
      penalty = length > 0 ? std::exp(1 - reference_length / length) : 0;
    }
    std::array<double, kOrders> precisions{};
    Score result{"BLEU", 0, signature(references), {}};
    bool any = false;
    for (size_t n = 0; n < kOrders; ++n) any = any || counts[kMatches + n] > 0;
    if (any) result.value = penalty * std::exp(mean_log(counts, precisions));
    for (size_t n = 0; n < kOrders; ++n) {
      if (n > 0) result.details += '/';
      result.details += fixed(precisions[n], 1);
    }
    const double ratio = reference_length > 0 ? length / reference_length : 0;
    result.details += " (BP = " + fixed(penalty, 3) + " ratio = " + fixed(ratio, 3) +
                      " hyp_len = " + fixed(length, 0) +
                      " ref_len = " + fixed(reference_length, 0) + ")";
    return result;
  }

 private:
  std::string prepared(std::string_view line) const {
    if (!options_.lowercase) return tokenize(strip_right(line), options_.tokenization);
    return tokenize(strip_right(lower(line)), options_.tokenization);
  }

  /// Fills the precisions and gives the mean of their logarithms.
  double mean_log(const Counts& counts, std::array<double, kOrders>& precisions) const {
    double smoothing = 1;
    size_t order = kOrders;
    for (size_t n = 0; n < kOrders; ++n) {
      const double matches = counts[kMatches + n], total = counts[kTotals + n];
      if (total == 0) break;
      if (options_.effective_order) order = n + 1;
      if (matches == 0) {
        smoothing *= 2;
        precisions[n] = 100. / (smoothing * total);
      } else {
        precisions[n] = 100. * matches / total;
      }
    }
    double sum = 0;
    for (size_t n = 0; n < order; ++n) {
      sum += precisions[n] == 0 ? -9999999999. : std::log(precisions[n]);
    }
    return sum / static_cast<double>(order);
  }

  std::string signature(size_t references) const {
    return str("nrefs:", references, "|case:", options_.lowercase ? "lc" : "mixed",
               "|eff:", options_.effective_order ? "yes" : "no",
               "|tok:", name_of(options_.tokenization), "|smooth:exp|version:", kSacrebleuVersion);
  }

  MetricOptions options_;
};

}  // namespace

std::unique_ptr<Metric> make_bleu(const MetricOptions& options) {
  return std::make_unique<Bleu>(options);
}

}  // namespace heddle::text::score
