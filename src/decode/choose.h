// Plain choices from a row of numbers: what the fused projection does in one go, for the cases
// where logits are wanted, changed or averaged first.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "heddle/decode/engine.h"
#include "heddle/decode/options.h"

namespace heddle::decode {

/// The logit of a token that is not to be written.
inline constexpr float kNever = -std::numeric_limits<float>::infinity();

/// Sets to −inf what is not a candidate (when `candidates` holds any) and what is banned.
void forbid(std::span<float> logits, Tokens candidates, Tokens banned);

/// logits −= ln Σ exp(logits); a row of −inf stays as it is.
void log_softmax(std::span<float> logits);

/// The k best, best first, ties to the lower token; filled up with Choice{} when fewer are above
/// −inf. NaN counts as −inf.
void best_of(std::span<const float> log_probabilities, std::span<Choice> choices);

/// CTRL's repetition penalty on logits (Keskar et al. 2019): those of `written` tokens, once each,
/// are divided by it where positive and multiplied where negative.
void penalise(std::span<float> logits, std::span<const int32_t> written, double penalty);

/// Appends the tokens that would repeat an n-gram of `written`, rising, each once.
void repeated_ngrams(std::span<const int32_t> written, int n, std::vector<int32_t>& banned);

/// Index of the choice that the number u in [0, 1) falls on: probabilities exp(log p / temperature)
/// of `choices` (best first, as best_of leaves them), cut to the best that reach top_p and to those
/// of at least min_p times the best one's. top_k has been applied.
size_t draw(std::span<const Choice> choices, const Sampling& sampling, double u);

/// The same among all logits, with top_k; token −1 when none is above −inf. No more of them are
/// sorted than u and top_p ask for. `log_probability` is the logit as it is.
Choice draw_among(std::span<const float> logits, const Sampling& sampling, double u);

}  // namespace heddle::decode
