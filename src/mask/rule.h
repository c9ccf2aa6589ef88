// The rule of the mask, shared by host and device: which rows may look at a key column, and what
// that makes of a tile. Kernels ask only `classify` (tile) and `allowed` (element).
//
// Row i may look at key j unless
//   lts[j] <= i < lte[j],  or  uts[j] <= i < ute[j],  or  causal and i < j - offset.
// Bounds are absolute query rows, masked, half-open; an interval with begin == end masks nothing.
// FlashMask, arXiv 2410.01359, section 4; the names LTS, LTE, UTS, UTE are theirs.
#pragma once

#include <cstdint>

#include "heddle/base/host_device.h"

namespace heddle {

enum class TileClass : uint8_t { skip, partial, full };

/// What a kernel receives: plain pointers, each to [heads, key_length], or null for its default.
struct MaskView {
  const int32_t* lts;  // null: query_length
  const int32_t* lte;  // null: query_length
  const int32_t* uts;  // null: 0
  const int32_t* ute;  // null: 0
  int32_t query_length;
  int32_t key_length;
  int32_t heads;   // 1, or one set of bounds per key/value head
  int32_t offset;  // causal: row i sees keys j <= i + offset
  bool causal;
};

/// One key column: the rows [first, …) outside the two masked intervals may look at it.
struct MaskColumn {
  int32_t first;  // 0, or where the causal diagonal begins
  int32_t lts, lte, uts, ute;
};

HEDDLE_HD inline int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
HEDDLE_HD inline int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

/// The set of bounds that a key/value head uses.
HEDDLE_HD inline int32_t mask_head(const MaskView& mask, int32_t kv_head) {
  return mask.heads == 1 ? 0 : kv_head;
}

HEDDLE_HD inline MaskColumn mask_column(const MaskView& mask, int32_t head, int32_t key) {
  const int64_t at = static_cast<int64_t>(head) * mask.key_length + key;
  return {mask.causal ? larger(key - mask.offset, 0) : 0,
          mask.lts != nullptr ? mask.lts[at] : mask.query_length,
          mask.lte != nullptr ? mask.lte[at] : mask.query_length,
          mask.uts != nullptr ? mask.uts[at] : 0, mask.ute != nullptr ? mask.ute[at] : 0};
}

/// May this row look at this column?
HEDDLE_HD inline bool allowed(const MaskColumn& column, int32_t row) {
  return row >= column.first && !(row >= column.lts && row < column.lte) &&
         !(row >= column.uts && row < column.ute);
}

/// May query `row` look at `key`, for the mask's own head index?
HEDDLE_HD inline bool allowed(const MaskView& mask, int32_t head, int32_t row, int32_t key) {
  return allowed(mask_column(mask, head, key), row);
}

/// How many rows of [begin, end) may look at the column. Constant time.
HEDDLE_HD inline int32_t visible_rows(const MaskColumn& column, int32_t begin, int32_t end) {
  const int32_t from = larger(begin, column.first);
  if (from >= end) return 0;
  const int32_t l_begin = larger(column.lts, from), l_end = smaller(column.lte, end);
  const int32_t u_begin = larger(column.uts, from), u_end = smaller(column.ute, end);
  const int32_t in_l = larger(l_end - l_begin, 0);
  const int32_t in_u = larger(u_end - u_begin, 0);
  const int32_t in_both = larger(smaller(l_end, u_end) - larger(l_begin, u_begin), 0);
  return end - from - in_l - in_u + in_both;
}

/// Rows [begin, end) from the first to the last that may look at a column; begin == end: none.
struct RowSpan {
  int32_t begin, end;
};

HEDDLE_HD inline RowSpan visible_span(const MaskColumn& column, int32_t rows) {
  int32_t begin = column.first, end = rows;
  for (int i = 0; i < 2; ++i) {  // past one interval a row may be in the other
    if (begin >= column.lts && begin < column.lte) begin = column.lte;
    if (begin >= column.uts && begin < column.ute) begin = column.ute;
    if (end > column.lts && end <= column.lte) end = column.lts;
    if (end > column.uts && end <= column.ute) end = column.uts;
  }
  if (begin >= end) return {0, 0};
  return {begin, end};
}

/// The exact class of the tile rows [row_begin, row_end) × keys [key_begin, key_end), also where
/// only the union of the two intervals, or different intervals in different columns, cover it.
HEDDLE_HD inline TileClass classify(const MaskView& mask, int32_t head, int32_t row_begin,
                                    int32_t row_end, int32_t key_begin, int32_t key_end) {
  bool any = false;
  bool all = true;
  for (int32_t key = key_begin; key < key_end; ++key) {
    const int32_t visible = visible_rows(mask_column(mask, head, key), row_begin, row_end);
    any = any || visible > 0;
    all = all && visible == row_end - row_begin;
    if (any && !all) return TileClass::partial;
  }
  return any ? TileClass::full : TileClass::skip;
}

}  // namespace heddle
