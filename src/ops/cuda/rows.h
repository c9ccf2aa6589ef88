// The activations of a run on a GPU: [R, width] of 16 bits (launch.h), as views of memory that a
// workspace owns.
#pragma once

#include <cstdint>

#include "heddle/ops/cuda/launch.h"

namespace heddle::ops::cuda {

/// The gradient of rows [count, width] while a tape is run backwards; null values: all zeros yet.
struct Gradient {
  BFloat16* values = nullptr;
  int64_t count = 0, width = 0;
  bool produced = false;  ///< an operation has written the rows

  /// Where the gradient's column sums are wanted, f32 [width], or null. Who makes the gradient may
  /// add them there, too, and says so; who adds to the gradient afterwards takes that back.
  float* column_sums = nullptr;
  bool summed = false;
};

class Rows {
 public:
  /// Values that lie elsewhere, without gaps; their gradient grows in `gradient`, unless null.
  Rows(BFloat16* values, int64_t count, int64_t width, Gradient* gradient, Half half = Half::bf16)
      : values_(values),
        count_(count),
        width_(width),
        stride_(width),
        half_(half),
        gradient_(gradient) {}

  int64_t count() const { return count_; }
  int64_t width() const { return width_; }
  int64_t stride() const { return stride_; }
  Half half() const { return half_; }
  Extent extent() const { return {count_, width_}; }

  BFloat16* row(int64_t r) const { return values_ + r * stride_; }
  RowsView view() const { return {values_, stride_, half_}; }

  /// Null unless a tape made these rows; they are its columns from gradient_column() on.
  Gradient* gradient() const { return gradient_; }
  int64_t gradient_column() const { return gradient_column_; }

  /// Columns [begin, end) of every row, as a view of the same values and gradient.
  Rows columns(int64_t begin, int64_t end) const {
    Rows view = *this;
    view.values_ += begin;
    view.width_ = end - begin;
    view.gradient_column_ += begin;
    return view;
  }

  /// Rows [begin, end), as a view of the same values, without a gradient.
  Rows range(int64_t begin, int64_t end) const {
    Rows view = *this;
    view.values_ += begin * stride_;
    view.count_ = end - begin;
    view.gradient_ = nullptr;
    return view;
  }

 private:
  BFloat16* values_;
  int64_t count_, width_, stride_;
  Half half_;
  Gradient* gradient_;
  int64_t gradient_column_ = 0;
};

}  // namespace heddle::ops::cuda
