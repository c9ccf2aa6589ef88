// The left side of a product, ready for the kernels: what linear and the output projection share.
#pragma once

#include "heddle/base/error.h"
#include "heddle/ops/cpu/kernels.h"
#include "heddle/ops/matrix.h"
#include "heddle/ops/rows.h"

namespace heddle::ops {

class ProductInput {
 public:
  /// Makes the int8 copy of x that w needs.
  ProductInput(Rows& x, const Matrix& w, Workspace& workspace) : x_(x), w_(w) {
    if (w.int8() != nullptr) {
      codes_ = &x.codes(w.input_scale(), workspace);
    } else {
      HEDDLE_CHECK(x.has_values(), "linear: x has codes alone; expected values for f32 weights");
    }
  }

  /// Columns [first, end) of x·Wᵀ for all rows; `first` a multiple of cpu::kTile.
  void multiply(cpu::Span columns, const cpu::Finish& finish, Workspace& workspace) const {
    if (codes_ != nullptr) {
      const Workspace::Scope scope(workspace);
      w_.kernels().multiply_int8(
          {.codes = codes_->data,
           .codes_stride = codes_->stride,
           .rows = x_.count(),
           .zero = codes_->zero,
           .steps = codes_->steps,
           .step = codes_->step,
           .weight = w_.int8(),
           .columns = columns,
           .finish = finish,
           .scratch = workspace.take<uint8_t>(2 * x_.count() * codes_->stride)});
    } else {
      w_.kernels().multiply_float({.x = x_.row(0),
                                   .x_stride = x_.stride(),
                                   .rows = x_.count(),
                                   .weight = w_.floats(),
                                   .columns = columns,
                                   .finish = finish});
    }
  }

  const Codes* codes() const { return codes_; }  ///< null for matrices of floats

 private:
  const Rows& x_;
  const Matrix& w_;
  const Codes* codes_ = nullptr;
};

}  // namespace heddle::ops
