// The lines between reader and workers: raw ones first, then prepared pieces, longest first within
// a window, so that what is decoded together ends together and the last ones are short.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <vector>

#include "heddle/decode/item_queue.h"
#include "heddle/decode/work_source.h"

namespace heddle::decode {

class LinePool : public WorkSource {
 public:
  /// Prepared pieces are kept at `window_lines` or above, as long as lines come. `decoders` threads
  /// decode; with `text_apart` others do the text.
  LinePool(int64_t window_lines, int decoders, bool text_apart = false);

  void add(LinePointer line);
  void put(std::vector<Item> items) override;
  void close();  ///< no more lines will be added

  /// Throws the error in every worker from now on.
  void fail(std::exception_ptr error);

  Work next(int free_rows, bool busy, Duty duty) override;
  void put_decoded(std::vector<LinePointer> lines) override;

 private:
  bool gives(int free_rows, Duty duty, Work& work);
  bool gives_text(Work& work);
  bool gives_pieces(int free_rows, Work& work);

  const size_t window_lines_;
  const size_t decoders_;
  std::mutex mutex_;
  std::condition_variable changed_;  // for those who decode …
  std::condition_variable text_;     // … and those who do the text alone
  size_t decoding_;                  // of the decoders, those that have not been told the end
  std::deque<LinePointer> raw_;
  std::deque<LinePointer> decoded_;  // to be put together by those who do the text alone
  ItemQueue prepared_;
  size_t preparing_ = 0;  // chunks of lines that were given and not yet put
  bool closed_ = false;
  std::exception_ptr error_;
};

}  // namespace heddle::decode
