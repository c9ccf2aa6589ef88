// ColumnMask: the one mask of Heddle. Per key column, up to two intervals of query rows that may
// not look at it, plus a causal bit: O(T) memory for documents, windows, prefixes, shared
// questions, trees and whatever else fits two gaps a column. The rule is in rule.h, builders in
// builders.h.
#pragma once

#include <cstdint>
#include <vector>

#include "heddle/mask/rule.h"
#include "heddle/tensor/tensor.h"

namespace heddle {

/// Longest row or column axis. Leaves room for tile arithmetic in int32.
inline constexpr int64_t kMaxMaskLength = int64_t{1} << 30;

/// The parts a mask is made of. Each bound is empty (its default, see MaskView) or [heads,
/// key_length].
struct MaskParts {
  int64_t query_length = 0;
  int64_t key_length = 0;
  int64_t heads = 1;
  bool causal = false;
  int64_t offset = 0;  ///< causal: row i sees keys j <= i + offset
  std::vector<int32_t> lts{}, lte{}, uts{}, ute{};
};

/// Visible keys [begin, end) of one row.
struct KeyRange {
  int32_t begin;
  int32_t end;
  bool operator==(const KeyRange&) const = default;
};

/// What tells whether a mask fills tiles well.
struct MaskReach {
  int64_t pairs = 0;    ///< visible, over all heads of the mask
  int32_t longest = 0;  ///< rows from the first to the last that may look at one key
};

class ColumnMask {
 public:
  /// Checks every bound: 0 <= begin <= end <= query_length. Bounds that mask nothing are dropped.
  explicit ColumnMask(const MaskParts& parts);

  int32_t query_length() const { return query_length_; }
  int32_t key_length() const { return key_length_; }
  int32_t heads() const { return heads_; }  ///< 1, or one a key/value head
  bool causal() const { return causal_; }
  int32_t offset() const { return offset_; }
  int bounds_stored() const;  ///< how many of lts, lte, uts, ute are held: 0 … 4

  /// Pointers into this mask; valid while it, or a copy of it, lives.
  MaskView view() const;

  MaskColumn column(int32_t head, int32_t key) const;
  bool allowed(int32_t head, int32_t row, int32_t key) const;

  /// Pairs (row, key) that may look, over all heads of the mask.
  int64_t visible_pairs() const { return reach().pairs; }
  MaskReach reach() const;
  double density() const;  ///< visible pairs ÷ all pairs
  int64_t bytes() const;   ///< memory of the bounds

  /// The row view: ranges of keys that a row sees, rising and never touching. O(key_length).
  std::vector<KeyRange> visible_ranges(int32_t head, int32_t row) const;

 private:
  int32_t query_length_;
  int32_t key_length_;
  int32_t heads_;
  bool causal_;
  int32_t offset_;
  Tensor lts_, lte_, uts_, ute_;  // each undefined, or i32 [heads, key_length]
};

}  // namespace heddle
