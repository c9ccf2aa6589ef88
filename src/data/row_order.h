// In which order items come and which of them share a row, as (seed, epoch) alone decides; for
// row_packer.h and group_packer.h, where the way of packing is described.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "heddle/data/packer.h"

namespace heddle::data {

inline constexpr int64_t kLongestRow = 131'072;

struct RowPackerOptions {
  int64_t packing_length = 4096;  ///< tokens of a row, at most kLongestRow
  int64_t window = 16384;         ///< examples packed together
  uint64_t seed = 1;
  bool shuffle = true;  ///< false: examples and rows as they come (for validation)
  bool packs = true;    ///< false: every example is a row of its own
};

class RowOrder {
 public:
  using Row = std::vector<uint32_t>;  // items

  /// Of `size` items with their lengths; throws when one is longer than a row.
  RowOrder(uint64_t size, std::function<int64_t(uint64_t)> length_of,
           const RowPackerOptions& options, PackerPosition position);

  /// The items of the next row; null at the end of an epoch, and the next call begins the next one.
  const Row* next();

  PackerPosition position() const { return position_; }
  double progress() const;
  uint64_t rows_in_epoch(uint64_t epoch) const;

 private:
  uint64_t windows() const;
  std::vector<uint32_t> order_of(uint64_t epoch) const;
  std::vector<Row> cut(std::span<const uint32_t> window) const;
  std::span<const uint32_t> window_of(std::span<const uint32_t> order, uint64_t window) const;
  void start_window();

  uint64_t size_;
  std::function<int64_t(uint64_t)> length_;
  RowPackerOptions options_;
  PackerPosition position_;
  std::vector<uint32_t> order_;  // of the epoch
  uint64_t ordered_epoch_ = UINT64_MAX;
  std::vector<Row> rows_;  // of the window, as they are given
  bool started_ = false;   // rows_ are those of position_
};

}  // namespace heddle::data
