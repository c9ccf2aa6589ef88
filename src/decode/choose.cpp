#include "heddle/decode/choose.h"

#include <algorithm>
#include <cmath>

namespace heddle::decode {

void forbid(std::span<float> logits, Tokens candidates, Tokens banned) {
  if (!candidates.empty()) {
    size_t next = 0;
    for (size_t token = 0; token < logits.size(); ++token) {
      if (next < candidates.size() && candidates[next] == static_cast<int32_t>(token)) {
        ++next;
      } else {
        logits[token] = kNever;
      }
    }
  }
  for (const int32_t token : banned) logits[static_cast<size_t>(token)] = kNever;
}

void log_softmax(std::span<float> logits) {
  float largest = kNever;
  for (const float logit : logits) largest = logit > largest ? logit : largest;
  if (largest == kNever) return;
  double sum = 0;
  for (const float logit : logits) {
    if (logit > kNever) sum += std::exp(logit - largest);
  }
  const float shift = largest + static_cast<float>(std::log(sum));
  for (float& logit : logits) logit -= shift;
}

void best_of(std::span<const float> log_probabilities, std::span<Choice> choices) {
  std::fill(choices.begin(), choices.end(), Choice{});
  size_t found = 0;
  for (size_t token = 0; token < log_probabilities.size(); ++token) {
    const float value = log_probabilities[token];
    if (!(value > choices.back().log_probability)) continue;
    size_t place = std::min(found, choices.size() - 1);
    for (; place > 0 && value > choices[place - 1].log_probability; --place) {
      choices[place] = choices[place - 1];
    }
    choices[place] = {static_cast<int32_t>(token), value};
    found = std::min(found + 1, choices.size());
  }
}

void penalise(std::span<float> logits, std::span<const int32_t> written, double penalty) {
  std::vector<int32_t> tokens(written.begin(), written.end());
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (const int32_t token : tokens) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
  }
}

void repeated_ngrams(std::span<const int32_t> written, int n, std::vector<int32_t>& banned) {
  const size_t before = static_cast<size_t>(n) - 1;  // tokens that must agree
  if (n < 1 || written.size() < static_cast<size_t>(n)) return;
  const auto last = written.last(before);
  const size_t first = banned.size();
  for (size_t at = 0; at + before < written.size(); ++at) {
    if (std::equal(last.begin(), last.end(), written.begin() + static_cast<std::ptrdiff_t>(at))) {
      banned.push_back(written[at + before]);
    }
  }
  const auto begin = banned.begin() + static_cast<std::ptrdiff_t>(first);
  std::sort(begin, banned.end());
  banned.erase(std::unique(begin, banned.end()), banned.end());
}

size_t draw(std::span<const Choice> choices, const Sampling& sampling, double u) {
  std::vector<double> weights;
  double sum = 0;
  for (const Choice& choice : choices) {
    if (choice.token < 0) break;
    const double difference = choice.log_probability - choices.front().log_probability;
    weights.push_back(std::exp(difference / sampling.temperature));
    sum += weights.back();
  }
  size_t kept = 0;
  double reached = 0;
  while (kept < weights.size() && weights[kept] >= sampling.min_p) {
    reached += weights[kept++];
    if (reached >= sampling.top_p * sum) break;
  }
  double place = u * reached;
  for (size_t i = 0; i + 1 < kept; ++i) {
    place -= weights[i];
    if (place < 0) return i;
  }
  return kept == 0 ? 0 : kept - 1;
}

Choice draw_among(std::span<const float> logits, const Sampling& sampling, double u) {
  float best = kNever;
  for (const float logit : logits) best = logit > best ? logit : best;
  if (best == kNever) return {};
  // Weights below e^−50 of the best change no sum of doubles that a draw could tell apart.
  const double lowest = best - 50 * sampling.temperature;
  std::vector<Choice> choices;
  double sum = 0;
  for (size_t token = 0; token < logits.size(); ++token) {
    if (!(logits[token] >= lowest)) continue;
    choices.push_back({static_cast<int32_t>(token), logits[token]});
    sum += std::exp((double{logits[token]} - best) / sampling.temperature);
  }
  const auto better = [](const Choice& a, const Choice& b) {
    return a.log_probability != b.log_probability ? a.log_probability > b.log_probability
                                                  : a.token < b.token;
  };
  const auto top_k = static_cast<size_t>(sampling.top_k);
  const bool cut = top_k > 0 && top_k < choices.size();
  const bool whole = !cut && sampling.top_p == 1 && sampling.min_p == 0;
  // Best first, in parts that double: a draw seldom falls far down.
  for (size_t part = cut ? top_k : 64;; part *= 2) {
    const size_t count = std::min(part, choices.size());
    const auto middle = choices.begin() + static_cast<std::ptrdiff_t>(count);
    std::nth_element(choices.begin(), middle - 1, choices.end(), better);
    std::sort(choices.begin(), middle, better);
    const std::span<const Choice> sorted(choices.data(), count);
    if (cut || count == choices.size()) return sorted[draw(sorted, sampling, u)];
    double reached = 0;
    for (const Choice& choice : sorted) {
      const double weight =
          std::exp((double{choice.log_probability} - best) / sampling.temperature);
      reached += weight;
      if (whole && reached > u * sum) return choice;
      if (!whole && (weight < sampling.min_p || reached >= sampling.top_p * sum)) {
        Sampling nucleus = sampling;  // what is left is all of it
        nucleus.top_p = 1;
        const size_t kept = static_cast<size_t>(&choice - sorted.data()) + 1;
        return sorted[draw(sorted.first(kept), nucleus, u)];
      }
    }
  }
}

}  // namespace heddle::decode
