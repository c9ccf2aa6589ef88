#include "heddle/ops/ssru.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops {

namespace {

void check(const Rows& gates, const Rows& out) {
  HEDDLE_CHECK(
      gates.count() == out.count() && gates.width() == 2 * out.width() && gates.has_values(),
      "ssru: gates [", gates.count(), ", ", gates.width(), "], out [", out.count(), ", ",
      out.width(), "]; expected gates [R, 2D], out [R, D]");
}

}  // namespace

void ssru_step(const Rows& gates, float* cells, std::span<const int32_t> slots, Rows& out,
               Workspace& workspace) {
  check(gates, out);
  HEDDLE_CHECK(static_cast<int64_t>(slots.size()) == out.count(), "ssru: ", slots.size(),
               " slots for ", out.count(), " rows");
  const int64_t width = out.width();
  for (int64_t r = 0; r < out.count(); ++r) {
    float* cell = cells + slots[static_cast<size_t>(r)] * width;
    workspace.kernels().ssru(gates.row(r), gates.row(r) + width, width, cell, out.row(r));
  }
  out.changed();
}

void ssru_scan(const Rows& gates, std::span<const int32_t> offsets, float* last, Rows& out,
               Workspace& workspace) {
  check(gates, out);
  HEDDLE_CHECK(!offsets.empty() && offsets.front() == 0 && offsets.back() == out.count() &&
                   std::is_sorted(offsets.begin(), offsets.end()),
               "ssru: offsets do not cut ", out.count(), " rows; expected 0 … T, rising");
  const int64_t width = out.width();
  const Workspace::Scope scope(workspace);
  float* own_cell = workspace.take<float>(width);
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    float* cell = last != nullptr ? last + static_cast<int64_t>(s) * width : own_cell;
    std::fill(cell, cell + width, 0.0f);
    for (int64_t r = offsets[s]; r < offsets[s + 1]; ++r) {
      workspace.kernels().ssru(gates.row(r), gates.row(r) + width, width, cell, out.row(r));
    }
  }
  out.changed();
}

void ssru_scan_backward(const Rows& gates, std::span<const int32_t> offsets, PlainRows d_out,
                        PlainRows d_gates, Workspace& workspace) {
  const int64_t width = gates.width() / 2;
  const cpu::Kernels& kernels = workspace.kernels();
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const int64_t first = offsets[s], end = offsets[s + 1];
    const Workspace::Scope scope(workspace);
    // The cells before each row and behind the last, made again as the scan made them.
    float* cells = workspace.take<float>((end - first + 1) * width);
    float* d_cell = workspace.take<float>(width);
    float* out = workspace.take<float>(width);
    std::fill(cells, cells + width, 0.0f);
    std::fill(d_cell, d_cell + width, 0.0f);
    for (int64_t r = first; r < end; ++r) {
      float* cell = cells + (r - first + 1) * width;
      std::copy_n(cell - width, width, cell);
      kernels.ssru(gates.row(r), gates.row(r) + width, width, cell, out);
    }
    for (int64_t r = end; r-- > first;) {
      kernels.backward.ssru({.x = gates.row(r),
                             .forget = gates.row(r) + width,
                             .before = cells + (r - first) * width,
                             .d_out = d_out.row(r),
                             .width = width,
                             .d_cell = d_cell,
                             .d_x = d_gates.row(r),
                             .d_forget = d_gates.row(r) + width});
    }
  }
}

}  // namespace heddle::ops
