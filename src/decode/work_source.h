// Lines on their way, and where a worker gets them from: a pool of all lines of one call
// (line_pool.h), or the requests that wait in a service (service.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "heddle/decode/request.h"
#include "heddle/text/segmenter.h"

namespace heddle::decode {

/// A part of a line that is decoded at once.
struct Piece {
  std::vector<int32_t> tokens;  ///< the end token last
  std::vector<Hypothesis> hypotheses;
};

/// A line on its way.
struct Line {
  uint64_t ticket = 0;  ///< place in the output
  uint64_t number = 0;  ///< names its random numbers
  std::string text;
  std::string prefix;
  std::shared_ptr<const Options> options;
  const std::atomic<bool>* unwanted = nullptr;  ///< set: nobody waits for it any more
  bool refused = false;                         ///< too long to be read
  text::PreparedLine frame;  ///< the spaces around the pieces; its segments' tokens are moved out
  std::vector<Piece> pieces;
  std::vector<int32_t> prefix_tokens;
  std::atomic<int64_t> open_pieces{0};
  Clock::time_point prepared{};

  bool wanted() const { return unwanted == nullptr || !*unwanted; }
};
using LinePointer = std::shared_ptr<Line>;

/// One piece of one line, waiting to be decoded.
struct Item {
  LinePointer line;
  size_t piece = 0;
  int64_t window = 0;
  int64_t tokens = 0;
  int rows = 1;  ///< it takes in the engine
};

/// Lines that a worker prepares at once: long enough to pay for the lock.
inline constexpr size_t kPreparedAtOnce = 32;

class WorkSource {
 public:
  enum class Task : uint8_t {
    prepare,   ///< `lines` are to be prepared and put
    assemble,  ///< `lines` were decoded elsewhere and are to be put together
    decode,    ///< `items` are to be submitted
    step,      ///< nothing new: go on with what is live
    finished,  ///< nothing will come any more
  };
  struct Work {
    Task task = Task::step;
    std::vector<LinePointer> lines;
    std::vector<Item> items;
  };

  /// What a thread is there for.
  enum class Duty : uint8_t { all, text, decoding };

  virtual ~WorkSource() = default;

  /// What a worker does next that has so many free rows. One that is not busy waits for work.
  virtual Work next(int free_rows, bool busy, Duty duty) = 0;

  /// Takes lines that were decoded by one whose duty is not text.
  virtual void put_decoded(std::vector<LinePointer> lines) = 0;

  /// Takes all pieces of the lines of one next().
  virtual void put(std::vector<Item> items) = 0;
};

}  // namespace heddle::decode
