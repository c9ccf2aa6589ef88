#include "heddle/ops/linear.h"

#include "heddle/ops/product.h"

namespace heddle::ops {

void linear(Rows& x, const Matrix& w, const Epilogue& epilogue, Rows& y, Workspace& workspace) {
  HEDDLE_CHECK(w.defined(), "linear: the matrix holds nothing");
  HEDDLE_CHECK(x.width() == w.columns() && y.width() == w.rows() && y.count() == x.count(),
               "linear: x [", x.count(), ", ", x.width(), "], w [", w.rows(), ", ", w.columns(),
               "], y [", y.count(), ", ", y.width(), "]; expected x [R, K], w [N, K], y [R, N]");
  if (epilogue.residual != nullptr) {
    HEDDLE_CHECK(epilogue.residual->count() == y.count() && epilogue.residual->width() == y.width(),
                 "linear: the residual is [", epilogue.residual->count(), ", ",
                 epilogue.residual->width(), "]; expected that of y, [", y.count(), ", ", y.width(),
                 "]");
    HEDDLE_CHECK(epilogue.residual->has_values(), "linear: the residual has codes alone");
  }
  const bool positive =
      epilogue.residual == nullptr &&
      (epilogue.activation == Activation::relu || epilogue.activation == Activation::sigmoid);
  cpu::Finish finish{
      .bias = epilogue.bias,
      .activation = epilogue.activation,
      .residual = epilogue.residual != nullptr ? epilogue.residual->row(0) : nullptr,
      .residual_stride = epilogue.residual != nullptr ? epilogue.residual->stride() : 0,
      .y = y.row(0),
      .y_stride = y.stride(),
      .codes = nullptr,
      .codes_stride = 0,
      .inverse_step = 0,
      .zero = positive ? 0 : 127};
  const ProductInput input(x, w, workspace);  // before y, which may be x, changes
  if (epilogue.next.step > 0) {
    HEDDLE_CHECK(&x != &y, "linear: y is x, whose codes are still read; expected other rows");
    const bool only_codes = epilogue.next.only_codes;
    finish.codes = y.fill_codes(epilogue.next.step, finish.zero, only_codes);
    finish.codes_stride = y.codes(epilogue.next.step, workspace).stride;
    finish.inverse_step = 1 / epilogue.next.step;
    if (only_codes) finish.y = nullptr;
  } else {
    y.changed();
  }
  input.multiply({0, w.rows()}, finish, workspace);
}

}  // namespace heddle::ops
