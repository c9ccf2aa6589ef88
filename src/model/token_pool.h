// Contiguous ranges of a fixed number of tokens: best fit, neighbours joined again when freed. With
// thousands of sentences there are as many gaps, so none is searched for one by one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace heddle::model {

class TokenPool {
 public:
  struct Range {
    int64_t begin = 0;
    int64_t length = 0;
  };

  explicit TokenPool(int64_t tokens = 0);

  /// A range of so many tokens, from the shortest gap that has them and of those the lowest;
  /// nothing when no gap is long enough. An empty range takes no room.
  std::optional<Range> take(int64_t length);
  void give_back(Range range);

  int64_t free_tokens() const { return free_; }
  int64_t longest_gap() const { return by_length_.empty() ? 0 : by_length_.rbegin()->first; }

 private:
  void add(Range gap);
  void remove(Range gap);

  std::map<int64_t, int64_t> gaps_;                  // begin → length, never touching
  std::set<std::pair<int64_t, int64_t>> by_length_;  // the same: (length, begin)
  int64_t free_ = 0;
};

}  // namespace heddle::model
