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

size_t draw(std::span<const Choice> choices, double temperature, double top_p, double u) {
  std::vector<double> weights;
  double sum = 0;
  for (const Choice& choice : choices) {
    if (choice.token < 0) break;
    const double difference = choice.log_probability - choices.front().log_probability;
    weights.push_back(std::exp(difference / temperature));
    sum += weights.back();
  }
  size_t kept = 0;
  double reached = 0;
  while (kept < weights.size()) {
    reached += weights[kept++];
    if (reached >= top_p * sum) break;
  }
  double place = u * reached;
  for (size_t i = 0; i + 1 < kept; ++i) {
    place -= weights[i];
    if (place < 0) return i;
  }
  return kept == 0 ? 0 : kept - 1;
}

}  // namespace heddle::decode
