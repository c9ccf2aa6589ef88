// What goes into a scheduler and what comes out.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "heddle/decode/options.h"

namespace heddle::decode {

using Clock = std::chrono::steady_clock;

/// One sentence to translate.
struct Request {
  uint64_t id = 0;                ///< the caller's; comes back with the result
  std::vector<int32_t> source{};  ///< tokens, the end token last
  std::vector<int32_t> prefix{};  ///< tokens the target begins with, forced
  std::shared_ptr<const Options> options{};
  uint64_t random_key = 0;  ///< with the seed, names the random numbers of this request
  std::optional<Clock::time_point> deadline{};  ///< dropped when not finished by then
};

/// One translation. `tokens` is without the end token; scores and alignments count the end where it
/// was written.
struct Hypothesis {
  std::vector<int32_t> tokens;
  double score = 0;                 ///< Σ log p / n^length_penalty; 0 unless asked for or needed
  double log_probability = 0;       ///< Σ log p
  std::vector<float> token_scores;  ///< log p of each token, the end included
  std::vector<float> alignment;     ///< [target tokens, source tokens], rows sum to 1
  bool ended = false;               ///< by the end token, not by the length limit
};

enum class Status : uint8_t { finished, cancelled, expired };

struct Result {
  uint64_t id = 0;
  Status status = Status::finished;
  std::vector<Hypothesis> hypotheses{};  ///< best first; empty unless finished
  int64_t source_tokens = 0;
  Clock::time_point submitted{}, admitted{}, done{};
};

}  // namespace heddle::decode
