#include "heddle/mask/intervals.h"

#include <algorithm>
#include <utility>

namespace heddle::masks {

namespace {

/// Sorts, drops what lies above row `first` or is empty, and joins what touches.
void simplify(std::vector<RowInterval>& intervals, int32_t first) {
  std::sort(intervals.begin(), intervals.end(),
            [](RowInterval a, RowInterval b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (const RowInterval& interval : intervals) {
    const RowInterval part{std::max(interval.begin, first), interval.end};
    if (part.begin >= part.end) continue;
    if (kept > 0 && part.begin <= intervals[kept - 1].end) {
      intervals[kept - 1].end = std::max(intervals[kept - 1].end, part.end);
    } else {
      intervals[kept++] = part;
    }
  }
  intervals.resize(kept);
}

}  // namespace

ColumnFitter::ColumnFitter(std::string_view what, MaskParts shape)
    : what_(what), parts_(std::move(shape)) {
  const auto columns = static_cast<size_t>(parts_.heads * parts_.key_length);
  const auto none = static_cast<int32_t>(parts_.query_length);
  parts_.lts.assign(columns, none);
  parts_.lte.assign(columns, none);
  parts_.uts.assign(columns, 0);
  parts_.ute.assign(columns, 0);
}

void ColumnFitter::set(int64_t head, int64_t key, std::vector<RowInterval>& intervals) {
  const int64_t first =
      parts_.causal ? std::clamp<int64_t>(key - parts_.offset, 0, parts_.query_length) : 0;
  simplify(intervals, static_cast<int32_t>(first));
  HEDDLE_CHECK(intervals.size() <= 2, what_, ": column ", key, " of head ", head, " needs ",
               intervals.size(), " masked intervals; expected at most 2");
  const auto at = static_cast<size_t>(head * parts_.key_length + key);
  // From the last: an interval from row 0 goes to (uts, ute), where uts = 0 need not be stored;
  // others go first to (lts, lte), where lte = query_length need not be stored.
  bool lower_used = false;
  std::reverse(intervals.begin(), intervals.end());
  for (const RowInterval& interval : intervals) {
    const bool upper = lower_used || (interval.begin == 0 && interval.end < parts_.query_length);
    (upper ? parts_.uts : parts_.lts)[at] = interval.begin;
    (upper ? parts_.ute : parts_.lte)[at] = interval.end;
    lower_used = lower_used || !upper;
  }
}

}  // namespace heddle::masks
