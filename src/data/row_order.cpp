#include "heddle/data/row_order.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/data/permutation.h"

namespace heddle::data {

namespace {

// Streams of one seed: orders of examples, and of the rows of a window.
constexpr uint64_t kExampleStream = uint64_t{1} << 62, kRowStream = uint64_t{2} << 62;
constexpr uint64_t kMostRowWindows = uint64_t{1} << 32;  // of an epoch

}  // namespace

RowOrder::RowOrder(uint64_t size, std::function<int64_t(uint64_t)> length_of,
                   const RowPackerOptions& options, PackerPosition position)
    : size_(size), length_(std::move(length_of)), options_(options), position_(position) {
  HEDDLE_CHECK(size_ > 0 && size_ < UINT32_MAX, "packer: found ", size_,
               " examples; expected at least one, and fewer than 2^32");
  HEDDLE_CHECK(options_.window > 0, "packer: found a window of ", options_.window,
               " examples; expected at least 1");
  HEDDLE_CHECK(options_.packing_length > 0 && options_.packing_length <= kLongestRow,
               "packing_length: found ", options_.packing_length, "; expected 1 … ", kLongestRow);
  for (uint64_t i = 0; i < size_; ++i) {
    const int64_t length = length_(i);
    HEDDLE_CHECK(length > 0 && length <= options_.packing_length, "packer: example ", i, " has ",
                 length, " tokens; expected 1 to ", options_.packing_length,
                 " (raise packing_length, or lower max_length)");
  }
}

uint64_t RowOrder::windows() const {
  return (size_ - 1) / static_cast<uint64_t>(options_.window) + 1;
}

double RowOrder::progress() const {
  const double within =
      rows_.empty() ? 0.0
                    : static_cast<double>(position_.batch) / static_cast<double>(rows_.size());
  const auto size = static_cast<double>(options_.window), all = static_cast<double>(size_),
             begin = static_cast<double>(position_.window) * size;
  return (begin + within * std::min(size, all - begin)) / all;
}

uint64_t RowOrder::rows_in_epoch(uint64_t epoch) const {
  const std::vector<uint32_t> order = order_of(epoch);
  uint64_t rows = 0;
  for (uint64_t i = 0; i < windows(); ++i) rows += cut(window_of(order, i)).size();
  return rows;
}

const RowOrder::Row* RowOrder::next() {
  if (!started_) start_window();
  if (position_.batch == rows_.size()) {
    position_.batch = 0;
    ++position_.window;
    started_ = false;
    if (position_.window == windows()) {
      position_ = {position_.epoch + 1, 0, 0};
      return nullptr;
    }
    start_window();
  }
  return &rows_[position_.batch++];
}

std::vector<uint32_t> RowOrder::order_of(uint64_t epoch) const {
  if (options_.shuffle) {
    return random_permutation(size_, options_.seed, kExampleStream + epoch);
  }
  std::vector<uint32_t> order(size_);
  std::iota(order.begin(), order.end(), 0U);
  return order;
}

std::span<const uint32_t> RowOrder::window_of(std::span<const uint32_t> order,
                                              uint64_t window) const {
  const auto size = static_cast<uint64_t>(options_.window);
  const uint64_t begin = window * size;
  return order.subspan(begin, std::min(size, order.size() - begin));
}

void RowOrder::start_window() {
  if (ordered_epoch_ != position_.epoch) {
    order_ = order_of(position_.epoch);
    ordered_epoch_ = position_.epoch;
  }
  HEDDLE_CHECK(position_.window < windows(), "packer: found the position ", position_.window,
               " of ", windows(), " windows");
  std::vector<Row> rows = cut(window_of(order_, position_.window));
  HEDDLE_CHECK(position_.batch <= rows.size(), "packer: found the position ", position_.batch,
               " of ", rows.size(), " rows");
  if (options_.shuffle) {
    const auto order =
        random_permutation(rows.size(), options_.seed,
                           kRowStream + position_.epoch * kMostRowWindows + position_.window);
    rows_.resize(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) rows_[i] = std::move(rows[order[i]]);
  } else {
    rows_ = std::move(rows);
  }
  started_ = true;
}

std::vector<RowOrder::Row> RowOrder::cut(std::span<const uint32_t> window) const {
  std::vector<uint32_t> longest_first(window.size());  // places in the window
  std::iota(longest_first.begin(), longest_first.end(), 0U);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](uint32_t a, uint32_t b) { return length_(window[a]) > length_(window[b]); });
  std::vector<Row> rows;
  std::multimap<int64_t, size_t> by_room;  // rows that are not full
  for (const uint32_t place : longest_first) {
    const int64_t length = length_(window[place]);
    int64_t room = options_.packing_length;
    size_t row = rows.size();
    if (const auto best = by_room.lower_bound(length); options_.packs && best != by_room.end()) {
      room = best->first;
      row = best->second;
      by_room.erase(best);
    } else {
      rows.emplace_back();
    }
    rows[row].push_back(place);
    if (room > length) by_room.emplace(room - length, row);
  }
  for (Row& row : rows) std::sort(row.begin(), row.end());
  std::sort(rows.begin(), rows.end());  // by their first example
  for (Row& row : rows) {
    for (uint32_t& place : row) place = window[place];
  }
  return rows;
}

}  // namespace heddle::data
