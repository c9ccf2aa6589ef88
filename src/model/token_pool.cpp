#include "heddle/model/token_pool.h"

#include <iterator>

#include "heddle/base/error.h"

namespace heddle::model {

TokenPool::TokenPool(int64_t tokens) : free_(tokens) {
  HEDDLE_CHECK(tokens >= 0, "token pool: ", tokens, " tokens; expected at least 0");
  add({0, tokens});
}

void TokenPool::add(Range gap) {
  if (gap.length == 0) return;
  gaps_.emplace(gap.begin, gap.length);
  by_length_.emplace(gap.length, gap.begin);
}

void TokenPool::remove(Range gap) {
  gaps_.erase(gap.begin);
  by_length_.erase({gap.length, gap.begin});
}

std::optional<TokenPool::Range> TokenPool::take(int64_t length) {
  HEDDLE_CHECK(length >= 0, "token pool: asked for ", length, " tokens; expected at least 0");
  if (length == 0) return Range{};
  const auto fits = by_length_.lower_bound({length, 0});
  if (fits == by_length_.end()) return std::nullopt;
  const Range gap{fits->second, fits->first};
  remove(gap);
  add({gap.begin + length, gap.length - length});
  free_ -= length;
  return Range{gap.begin, length};
}

void TokenPool::give_back(Range range) {
  if (range.length == 0) return;
  free_ += range.length;
  const auto after = gaps_.lower_bound(range.begin);
  Range joined = range;
  if (after != gaps_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == range.begin) {
      joined = {before->first, before->second + range.length};
    }
  }
  const bool touches = after != gaps_.end() && after->first == range.begin + range.length;
  const Range behind = touches ? Range{after->first, after->second} : Range{};
  if (joined.begin < range.begin) remove({joined.begin, joined.length - range.length});
  if (touches) remove(behind);
  joined.length += behind.length;
  add(joined);
}

}  // namespace heddle::model
