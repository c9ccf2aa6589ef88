// What a run of translations took, in constant memory however long it was.
#pragma once

#include <array>
#include <cstdint>

#include "heddle/decode/profile.h"

namespace heddle::decode {

/// Durations counted in bins that grow by 5 %: percentiles are right to 5 %.
class Durations {
 public:
  void add(double seconds);
  void merge(const Durations& other);
  int64_t count() const { return count_; }

  /// The duration that this share (0 … 1) of all does not exceed; 0 when there are none.
  double percentile(double share) const;

 private:
  static constexpr int kBins = 500;
  std::array<int64_t, kBins> bins_{};
  int64_t count_ = 0;
};

struct Statistics {
  int64_t lines = 0;
  int64_t source_words = 0;  ///< separated by white space
  int64_t source_bytes = 0;
  int64_t source_tokens = 0;  ///< ends included
  int64_t target_tokens = 0;  ///< ends included
  int64_t cut_lines = 0;      ///< longer than the model takes, translated in pieces
  int64_t refused_lines = 0;  ///< longer than the line limit, answered with an empty line
  int64_t unfinished = 0;     ///< pieces that reached the length limit before their end
  double seconds = 0;         ///< wall time
  int threads = 0;
  Durations latency;  ///< of lines, from their tokens being taken to their translation
  Profile profile;    ///< of all workers together

  Statistics& operator+=(const Statistics& part);  ///< all but seconds and threads
};

}  // namespace heddle::decode
