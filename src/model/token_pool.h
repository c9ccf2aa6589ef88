// Contiguous ranges of a fixed number of tokens: first fit, neighbours joined again when freed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace heddle::model {

class TokenPool {
 public:
  struct Range {
    int64_t begin = 0;
    int64_t length = 0;
  };

  explicit TokenPool(int64_t tokens = 0);

  /// A range of so many tokens, the lowest that is free; nothing when no gap is long enough. An
  /// empty range takes no room.
  std::optional<Range> take(int64_t length);
  void give_back(Range range);

  int64_t free_tokens() const { return free_; }
  int64_t longest_gap() const;

 private:
  std::map<int64_t, int64_t> gaps_;  // begin → length, never touching
  int64_t free_ = 0;
};

}  // namespace heddle::model
