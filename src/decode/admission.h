// Which waiting requests enter now: a pure function of numbers, so that the policy can be read and
// tested without a model or a clock.
#pragma once

#include <cstdint>
#include <span>

namespace heddle::decode {

/// What one waiting request needs.
struct Demand {
  int64_t source_tokens = 0;
  int rows = 1;  ///< its beam
};

/// What there is.
struct Room {
  int live_rows = 0;
  int free_rows = 0;
  int64_t free_source_tokens = 0;
};

struct AdmissionPolicy {
  /// Most tokens of one packed encoder batch; a longer sentence goes alone.
  int64_t encode_tokens = 512;

  /// While rows are live, wait until this many are free: encoding a few sentences at a time costs
  /// more than a few idle rows. 1 admits at once, for latency.
  int refill_rows = 8;
};

/// How many of the waiting requests, from the first, are admitted now. Never skips one, so none
/// starves. Nothing live and nothing too large: at least one is admitted.
int admissible(const AdmissionPolicy& policy, const Room& room, std::span<const Demand> waiting);

}  // namespace heddle::decode
