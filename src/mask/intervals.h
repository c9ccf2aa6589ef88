// Masked row intervals of one column, before they are fitted into a mask's two. Internal to mask/.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "heddle/mask/mask.h"

namespace heddle::masks {

struct RowInterval {
  int32_t begin;
  int32_t end;
};

/// Collects the columns of a new mask, each as any number of masked intervals, and fits them into
/// the two that a ColumnMask holds.
class ColumnFitter {
 public:
  /// `what` names the operation in errors; `shape` gives lengths, heads, causal and offset.
  ColumnFitter(std::string_view what, MaskParts shape);

  /// Masks the intervals (in any order, overlapping or empty) in one column. Rows that the causal
  /// rule hides anyway cost nothing. Throws when more than two intervals remain.
  void set(int64_t head, int64_t key, std::vector<RowInterval>& intervals);

  ColumnMask finish() const { return ColumnMask(parts_); }

 private:
  std::string_view what_;
  MaskParts parts_;
};

}  // namespace heddle::masks
