// What goes into a service and what comes out of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "heddle/decode/options.h"
#include "heddle/decode/request.h"
#include "heddle/decode/translator.h"

namespace heddle::decode {

struct Usage {
  int64_t source_words = 0;                      ///< separated by white space
  int64_t source_tokens = 0, target_tokens = 0;  ///< ends included
};

enum class End : uint8_t {
  finished,
  cancelled,  ///< by cancel(), or by the end of the service
  expired,    ///< not finished at its deadline
  failed,     ///< an error while its lines were translated
};

/// How a submission ended.
struct Outcome {
  End end = End::finished;
  Usage usage{};             ///< of the lines that were finished
  double queue_seconds = 0;  ///< until its first line was decoded
  double total_seconds = 0;
  std::string error{};  ///< of one that failed
};

/// Called from workers, several at once, or from whoever ends the submission. A line may still be
/// told while or after an end that is not `finished`.
struct ServiceEvents {
  std::function<void(size_t line, Translation&& translation)> line;
  std::function<void(const Outcome& outcome)> end;  ///< exactly once
};

struct Submission {
  std::vector<std::string> lines;
  std::shared_ptr<const Options> options;
  std::string prefix{};  ///< every translation begins with it
  std::string client{};  ///< who pays
  std::optional<Clock::time_point> deadline{};
  ServiceEvents events{};
};

enum class Verdict : uint8_t {
  accepted,
  full,         ///< the queue is
  client_full,  ///< this client's share is, and others wait
  too_large,    ///< more than the queue ever holds
  closed,       ///< the service takes nothing any more
};

}  // namespace heddle::decode
