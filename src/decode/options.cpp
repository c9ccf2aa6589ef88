#include "heddle/decode/options.h"

#include <algorithm>
#include <cmath>

#include "heddle/base/error.h"

namespace heddle::decode {

void Sampling::check() const {
  HEDDLE_CHECK(temperature > 0 && std::isfinite(temperature), "options: temperature is ",
               temperature, "; expected above 0. For the best token leave sampling off");
  HEDDLE_CHECK(top_k >= 0, "options: top_k is ", top_k, "; expected 1 or more, or 0 for all");
  HEDDLE_CHECK(top_p > 0 && top_p <= 1, "options: top_p is ", top_p, "; expected above 0, to 1");
  HEDDLE_CHECK(min_p >= 0 && min_p <= 1, "options: min_p is ", min_p, "; expected 0 … 1");
}

void Repetition::check() const {
  HEDDLE_CHECK(penalty > 0 && std::isfinite(penalty), "options: repetition penalty is ", penalty,
               "; expected above 0, 1 for none");
  HEDDLE_CHECK(no_repeat_ngram >= 0, "options: no_repeat_ngram is ", no_repeat_ngram,
               "; expected 0 or more");
}

void Options::check() const {
  HEDDLE_CHECK(beam >= 1 && beam <= kMaxBeam, "options: beam is ", beam, "; expected 1 … ",
               kMaxBeam);
  HEDDLE_CHECK(n_best >= 1 && n_best <= kMaxBeam, "options: n_best is ", n_best, "; expected 1 … ",
               kMaxBeam);
  HEDDLE_CHECK(sampling.enabled || n_best <= beam, "options: n_best is ", n_best, " with beam ",
               beam, "; expected at most the beam. Raise beam, or sample");
  HEDDLE_CHECK(!sampling.enabled || beam == 1, "options: sampling with beam ", beam,
               "; expected beam 1: a search and a draw exclude each other");
  HEDDLE_CHECK(std::isfinite(length_penalty) && length_penalty >= 0, "options: length_penalty is ",
               length_penalty, "; expected 0 or more");
  HEDDLE_CHECK(patience >= 1 && patience <= 16, "options: patience is ", patience,
               "; expected 1 … 16");
  HEDDLE_CHECK(max_length_factor > 0 && max_length_factor <= 100, "options: max_length_factor is ",
               max_length_factor, "; expected above 0, to 100");
  HEDDLE_CHECK(max_length_extra >= 0 && max_length_extra <= 10'000, "options: max_length_extra is ",
               max_length_extra, "; expected 0 … 10000");
  HEDDLE_CHECK(max_length >= 0, "options: max_length is ", max_length,
               "; expected 1 or more, or 0 for no such limit");
  HEDDLE_CHECK(min_length >= 0 && min_length <= 10'000, "options: min_length is ", min_length,
               "; expected 0 … 10000");
  sampling.check();
  repetition.check();
}

int64_t Options::target_limit(int64_t source_tokens) const {
  const auto scaled =
      static_cast<int64_t>(std::ceil(max_length_factor * static_cast<double>(source_tokens)));
  const int64_t limit = scaled + max_length_extra;
  return max_length > 0 ? std::min(limit, max_length) : limit;
}

}  // namespace heddle::decode
