// The simpler simple recurrent unit (Kim et al., "From research to production and back", 2019):
//
//   f = sigmoid(W_f x + b_f);  c = f ∘ c' + (1 − f) ∘ W x;  out = relu(c)
//
// W and W_f are one stacked matrix, so its product holds W x | W_f x + b_f side by side.
#pragma once

#include <cstdint>
#include <span>

#include "heddle/ops/rows.h"

namespace heddle::ops {

/// One step of many sequences. `gates` [R, 2D] is W x | W_f x + b_f; the cell of row r lies at
/// cells + slots[r] · D and is updated; out [R, D].
void ssru_step(const Rows& gates, float* cells, std::span<const int32_t> slots, Rows& out,
               Workspace& workspace);

/// Whole sequences: sequence s is rows [offsets[s], offsets[s + 1]), its first cell is zero.
/// gates [T, 2D], out [T, D]; the last cells go to `last` [sequences, D] unless null. Equal to the
/// steps to the bit.
void ssru_scan(const Rows& gates, std::span<const int32_t> offsets, float* last, Rows& out,
               Workspace& workspace);

/// d_gates [T, 2D], overwritten, from d_out [T, D]; gates as the scan read them.
void ssru_scan_backward(const Rows& gates, std::span<const int32_t> offsets, PlainRows d_out,
                        PlainRows d_gates, Workspace& workspace);

}  // namespace heddle::ops
