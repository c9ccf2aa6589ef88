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

  /// Columns [first, end) of x·Wᵀ for all rows; `first` a multiple of cpu::kTile. What the first
  /// call takes from the workspace is read by the next ones.
  void multiply(cpu::Span columns, const cpu::Finish& finish, Workspace& workspace) {
    if (codes_ != nullptr) {
      prepare(workspace);
      w_.kernels().multiply_int8(product(columns, finish));
    } else {
      w_.kernels().multiply_float({.x = x_.row(0),
                                   .x_stride = x_.stride(),
                                   .rows = x_.count(),
                                   .weight = w_.floats(),
                                   .columns = columns,
                                   .finish = finish});
    }
  }

  /// The same, shared by the threads of the workspace where it is worth their waking.
  void multiply_shared(cpu::Span columns, const cpu::Finish& finish, Workspace& workspace);

  const Codes* codes() const { return codes_; }  ///< null for matrices of floats

 private:
  void prepare(Workspace& workspace) {
    if (prepared_ != nullptr || w_.kernels().prepare_int8 == nullptr) return;
    prepared_ = workspace.take<uint8_t>(w_.kernels().prepared_bytes(*w_.int8(), x_.count()));
    w_.kernels().prepare_int8(product({0, w_.rows()}, {}));
  }

  cpu::Int8Product product(cpu::Span columns, const cpu::Finish& finish) const {
    return {.codes = codes_->data,
            .codes_stride = codes_->stride,
            .rows = x_.count(),
            .zero = codes_->zero,
            .steps = codes_->steps,
            .step = codes_->step,
            .weight = w_.int8(),
            .columns = columns,
            .finish = finish,
            .prepared = prepared_};
  }

  const Rows& x_;
  const Matrix& w_;
  const Codes* codes_ = nullptr;
  uint8_t* prepared_ = nullptr;
};

}  // namespace heddle::ops
