#include "heddle/mask/mask.h"

#include <algorithm>
#include <string_view>

namespace heddle {

namespace {

int32_t checked_length(std::string_view what, int64_t length) {
  HEDDLE_CHECK(length >= 1 && length <= kMaxMaskLength, "mask: ", what, " is ", length,
               "; expected 1 … ", kMaxMaskLength);
  return static_cast<int32_t>(length);
}

void check_size(std::string_view what, const std::vector<int32_t>& bound, const MaskParts& parts) {
  const int64_t found = static_cast<int64_t>(bound.size());
  HEDDLE_CHECK(found == 0 || found == parts.heads * parts.key_length, "mask: ", what, " has ",
               found, " values; expected none or ", parts.heads, " heads × ", parts.key_length,
               " keys");
}

/// One of the two masked intervals of every column.
struct Interval {
  std::string_view begin_name, end_name;
  const std::vector<int32_t>& begin;
  const std::vector<int32_t>& end;
  int32_t default_begin, default_end;
};

/// Checks every column; returns whether the interval masks anything at all.
bool check_interval(const Interval& interval, const MaskParts& parts) {
  const auto [begin_name, end_name, begin, end, default_begin, default_end] = interval;
  check_size(begin_name, begin, parts);
  check_size(end_name, end, parts);
  bool masks = false;
  const size_t columns = std::max(begin.size(), end.size());
  for (size_t at = 0; at < columns; ++at) {
    const int32_t from = begin.empty() ? default_begin : begin[at];
    const int32_t to = end.empty() ? default_end : end[at];
    if (from < 0 || from > to || to > parts.query_length) [[unlikely]] {
      const auto keys = static_cast<size_t>(parts.key_length);
      detail::throw_error(str("mask: column ", at % keys, " of head ", at / keys, " masks rows [",
                              begin_name, "=", from, ", ", end_name, "=", to, "); expected 0 <= ",
                              begin_name, " <= ", end_name, " <= ", parts.query_length));
    }
    masks = masks || from < to;
  }
  return masks;
}

/// i32 [heads, key_length], or undefined when every value is the default.
Tensor stored(const std::vector<int32_t>& bound, int32_t default_value, const MaskParts& parts) {
  const bool same = std::all_of(bound.begin(), bound.end(),
                                [&](int32_t value) { return value == default_value; });
  if (same) return {};
  Tensor tensor = Tensor::empty({parts.heads, parts.key_length}, DType::i32);  // [heads, Tk]
  std::copy(bound.begin(), bound.end(), tensor.data<int32_t>());
  return tensor;
}

const int32_t* pointer(const Tensor& bound) {
  return bound.defined() ? bound.data<int32_t>() : nullptr;
}

}  // namespace

ColumnMask::ColumnMask(const MaskParts& parts)
    : query_length_(checked_length("query length", parts.query_length)),
      key_length_(checked_length("key length", parts.key_length)),
      heads_(checked_length("head count", parts.heads)),
      causal_(parts.causal) {
  HEDDLE_CHECK(parts.offset >= -kMaxMaskLength && parts.offset <= kMaxMaskLength,
               "mask: query offset is ", parts.offset, "; expected ", -kMaxMaskLength, " … ",
               kMaxMaskLength);
  offset_ = static_cast<int32_t>(parts.offset);
  if (check_interval({"lts", "lte", parts.lts, parts.lte, query_length_, query_length_}, parts)) {
    lts_ = stored(parts.lts, query_length_, parts);
    lte_ = stored(parts.lte, query_length_, parts);
  }
  if (check_interval({"uts", "ute", parts.uts, parts.ute, 0, 0}, parts)) {
    uts_ = stored(parts.uts, 0, parts);
    ute_ = stored(parts.ute, 0, parts);
  }
}

int ColumnMask::bounds_stored() const {
  return lts_.defined() + lte_.defined() + uts_.defined() + ute_.defined();
}

MaskView ColumnMask::view() const {
  return {pointer(lts_), pointer(lte_), pointer(uts_), pointer(ute_), query_length_,
          key_length_,   heads_,        offset_,       causal_};
}

MaskColumn ColumnMask::column(int32_t head, int32_t key) const {
  HEDDLE_CHECK(head >= 0 && head < heads_ && key >= 0 && key < key_length_, "mask: column ", key,
               " of head ", head, "; expected a key below ", key_length_, ", a head below ",
               heads_);
  return mask_column(view(), head, key);
}

bool ColumnMask::allowed(int32_t head, int32_t row, int32_t key) const {
  HEDDLE_CHECK(row >= 0 && row < query_length_, "mask: row ", row, "; expected below ",
               query_length_);
  return heddle::allowed(column(head, key), row);
}

MaskReach ColumnMask::reach() const {
  const MaskView mask = view();
  MaskReach reach;
  for (int32_t head = 0; head < heads_; ++head) {
    for (int32_t key = 0; key < key_length_; ++key) {
      const MaskColumn column = mask_column(mask, head, key);
      const RowSpan span = visible_span(column, query_length_);
      reach.pairs += visible_rows(column, span.begin, span.end);
      reach.longest = std::max(reach.longest, span.end - span.begin);
    }
  }
  return reach;
}

double ColumnMask::density() const {
  return static_cast<double>(visible_pairs()) / heads_ / query_length_ / key_length_;
}

int64_t ColumnMask::bytes() const {
  return int64_t{bounds_stored()} * heads_ * key_length_ * static_cast<int64_t>(sizeof(int32_t));
}

std::vector<KeyRange> ColumnMask::visible_ranges(int32_t head, int32_t row) const {
  HEDDLE_CHECK(head >= 0 && head < heads_ && row >= 0 && row < query_length_, "mask: row ", row,
               " of head ", head, "; expected a row below ", query_length_, ", a head below ",
               heads_);
  const MaskView mask = view();
  std::vector<KeyRange> ranges;
  for (int32_t key = 0; key < key_length_; ++key) {
    if (!heddle::allowed(mask, head, row, key)) continue;
    if (!ranges.empty() && ranges.back().end == key) {
      ranges.back().end = key + 1;
    } else {
      ranges.push_back({key, key + 1});
    }
  }
  return ranges;
}

}  // namespace heddle
