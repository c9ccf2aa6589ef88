#include "heddle/model/token_pool.h"

#include <algorithm>
#include <iterator>

#include "heddle/base/error.h"

namespace heddle::model {

TokenPool::TokenPool(int64_t tokens) : free_(tokens) {
  HEDDLE_CHECK(tokens >= 0, "token pool: ", tokens, " tokens; expected at least 0");
  if (tokens > 0) gaps_.emplace(0, tokens);
}

std::optional<TokenPool::Range> TokenPool::take(int64_t length) {
  HEDDLE_CHECK(length >= 0, "token pool: asked for ", length, " tokens; expected at least 0");
  if (length == 0) return Range{};
  const auto fits = std::find_if(gaps_.begin(), gaps_.end(),
                                 [length](const auto& gap) { return gap.second >= length; });
  if (fits == gaps_.end()) return std::nullopt;
  const Range range{fits->first, length};
  const int64_t left = fits->second - length;
  gaps_.erase(fits);
  if (left > 0) gaps_.emplace(range.begin + length, left);
  free_ -= length;
  return range;
}

void TokenPool::give_back(Range range) {
  if (range.length == 0) return;
  auto after = gaps_.lower_bound(range.begin);
  free_ += range.length;
  if (after != gaps_.end() && after->first == range.begin + range.length) {
    range.length += after->second;
    after = gaps_.erase(after);
  }
  if (after != gaps_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == range.begin) {
      before->second += range.length;
      return;
    }
  }
  gaps_.emplace(range.begin, range.length);
}

int64_t TokenPool::longest_gap() const {
  int64_t longest = 0;
  for (const auto& [begin, length] : gaps_) longest = std::max(longest, length);
  return longest;
}

}  // namespace heddle::model
