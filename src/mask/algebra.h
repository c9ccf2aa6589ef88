// Masks from other forms, and new masks from old ones. Whatever needs more than two masked
// intervals in some column is refused with the first such column named.
#pragma once

#include <cstdint>
#include <span>

#include "heddle/mask/mask.h"

namespace heddle::masks {

/// FlashMask's tensor, unchanged: i32 [mask_heads, Sk, n], n columns in this order:
///   causal:     1 = LTS;  2 = LTS, LTE
///   not causal: 2 = LTS, UTE;  4 = LTS, LTE, UTS, UTE
/// Causal is aligned at the bottom right: masked when i < j - (Sk - Sq).
ColumnMask from_startend_row_indices(const Tensor& indices, int64_t query_length, bool causal);

/// From a dense picture, u8 [Tq, Tk] or [heads, Tq, Tk], nonzero = may look. Finds the causal form
/// (aligned at the bottom right) where it holds.
ColumnMask from_dense(const Tensor& dense);

/// The mask of some of the query rows, kept in order: `rows` rises strictly. Context parallelism
/// needs nothing else: each rank takes its rows.
ColumnMask select_rows(const ColumnMask& mask, std::span<const int32_t> rows);

/// What both masks allow. Head counts must agree or be 1.
ColumnMask intersect(const ColumnMask& a, const ColumnMask& b);

}  // namespace heddle::masks
