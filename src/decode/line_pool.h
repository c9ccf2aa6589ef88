// The lines between reader and workers: raw ones first, then prepared pieces, longest first within
// a window, so that what is decoded together ends together and the last ones are short.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
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
  bool refused = false;      ///< too long to be read
  text::PreparedLine frame;  ///< the spaces around the pieces; its segments' tokens are moved out
  std::vector<Piece> pieces;
  std::vector<int32_t> prefix_tokens;
  std::atomic<int64_t> open_pieces{0};
  Clock::time_point prepared{};
};
using LinePointer = std::shared_ptr<Line>;

/// One piece of one line, waiting to be decoded.
struct Item {
  LinePointer line;
  size_t piece = 0;
  int64_t window = 0;
  int64_t tokens = 0;
};

class LinePool {
 public:
  /// Prepared pieces are kept at `window_lines` or above, as long as lines come.
  LinePool(int64_t window_lines, int workers);

  void add(LinePointer line);
  void put(std::vector<Item> items);  ///< all pieces of the lines of one next()
  void close();                       ///< no more lines will be added

  /// Throws the error in every worker from now on.
  void fail(std::exception_ptr error);

  enum class Task : uint8_t {
    prepare,   ///< `lines` are to be prepared and put
    decode,    ///< `items` are to be submitted
    step,      ///< nothing new: go on with what is live
    finished,  ///< nothing will come any more
  };
  struct Work {
    Task task = Task::step;
    std::vector<LinePointer> lines;
    std::vector<Item> items;
  };

  /// What a worker does next that has room for so many pieces. One that is not busy waits for work.
  Work next(size_t room, bool busy);

 private:
  bool gives(size_t room, Work& work);

  const size_t window_lines_;
  const size_t workers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<LinePointer> raw_;
  std::vector<Item> prepared_;  // a heap
  size_t added_ = 0;
  size_t preparing_ = 0;  // chunks of lines that were given and not yet put
  bool closed_ = false;
  std::exception_ptr error_;
};

}  // namespace heddle::decode
