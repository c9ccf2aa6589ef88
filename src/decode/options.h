// How one request is to be decoded: every choice a caller has, and nothing about machines.
#pragma once

#include <cstdint>
#include <vector>

namespace heddle::decode {

/// Random choice of the next token instead of the best one. Numbers depend on (seed, request key,
/// sample, step) alone: the company in a batch changes no sentence.
struct Sampling {
  bool enabled = false;
  double temperature = 1;  ///< logits are divided by it; > 0
  int top_k = 0;           ///< choose among the k best; 0: all
  double top_p = 1;        ///< choose among the best whose probabilities reach p; 1: all
  uint64_t seed = 1;
  double min_p = 0;  ///< only tokens of at least this share of the best one's probability

  void check() const;  ///< throws unless every number is in its range
};

/// What makes a token that was written before less likely.
struct Repetition {
  double penalty = 1;       ///< logits > 0 are divided by it, others multiplied (CTRL); 1: off
  int no_repeat_ngram = 0;  ///< no n tokens in a row occur twice; 0: off

  void check() const;
};

struct Options {
  int beam = 1;    ///< hypotheses kept; 1: greedy
  int n_best = 1;  ///< hypotheses returned, best first; with sampling, independent samples

  /// A hypothesis of n tokens (the end counted) scores Σ log p / n^length_penalty: Marian's
  /// `normalize`, CTranslate2's length_penalty.
  double length_penalty = 1;
  double patience = 1;  ///< the search ends with beam · patience finished hypotheses

  double max_length_factor = 3;  ///< most target tokens: factor · source tokens (end included) …
  int64_t max_length_extra = 8;  ///< … + this, so that a source of one word may still be explained
  int64_t max_length = 0;        ///< most target tokens, whatever the source has; 0: no such limit
  int64_t min_length = 0;        ///< the end is not chosen before this many tokens

  Sampling sampling{};
  Repetition repetition{};

  bool scores = false;      ///< log-probabilities of hypotheses and tokens
  bool alignments = false;  ///< how much each target token looks at each source token
  bool shortlist = true;    ///< choose among the source's candidates, where there is a shortlist

  /// Throws unless every number is in its range: "options: beam is 0; expected 1 … 64".
  void check() const;

  /// Most target tokens of a source of so many tokens, the end included on both sides.
  int64_t target_limit(int64_t source_tokens) const;
};

/// Most hypotheses of one request.
inline constexpr int kMaxBeam = 64;

}  // namespace heddle::decode
