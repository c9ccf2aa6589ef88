// A coarse grid laid over a mask, with exact counts in its cells. Internal to mask/.
//
// Cost: O(keys + cells), never O(rows × keys): a column's visible rows are at most three intervals,
// and an interval changes a running sum over the bands in constant time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"

namespace heddle::picture {

/// First position of a band when [0, length) is cut into `bands` parts as equal as whole numbers
/// allow.
inline int64_t band_begin(int64_t length, int64_t bands, int64_t band) {
  return band * length / bands;
}

struct Grid {
  int32_t rows = 0;              ///< cells down (queries)
  int32_t keys = 0;              ///< cells across
  std::vector<int64_t> pairs;    ///< [rows, keys] pairs in the cell
  std::vector<int64_t> visible;  ///< [rows, keys] of these, those that may look
  std::vector<int64_t> in_full;  ///< [rows, keys] of these, those in full tiles; empty without plan
  std::vector<int64_t> in_partial;  ///< [rows, keys] and those in partial tiles

  size_t at(int32_t row, int32_t key) const {
    return static_cast<size_t>(row) * static_cast<size_t>(keys) + static_cast<size_t>(key);
  }
};

/// Lays `rows` × `keys` cells over one head of the mask; 1 <= rows <= Tq, 1 <= keys <= Tk.
/// With a plan of the same mask, counts the pairs in its full and partial tiles too.
Grid make_grid(const ColumnMask& mask, int32_t head, int32_t rows, int32_t keys,
               const MaskPlan* plan = nullptr);

}  // namespace heddle::picture
