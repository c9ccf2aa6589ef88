#include "heddle/ops/linear.h"

#include <algorithm>

#include "heddle/base/threads.h"
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
  const Workspace::Scope scope(workspace);
  ProductInput input(x, w, workspace);  // before y, which may be x, changes
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
  input.multiply_shared({0, w.rows()}, finish, workspace);
}

namespace {

constexpr int64_t kRowStep = cpu::PlainProduct::kRows;  // threads take whole blocks

/// The product, its rows shared by the threads of the workspace.
void multiply_shared(const cpu::PlainProduct& product, Workspace& workspace) {
  const auto multiply = workspace.kernels().backward.multiply_plain;
  const int64_t floats = cpu::PlainProduct::scratch_floats(product.columns);
  ThreadPool* threads = workspace.threads();
  const int64_t most = threads != nullptr ? threads->threads() : 1;
  const int64_t parts = std::clamp<int64_t>(product.rows / kRowStep, 1, most);
  const Workspace::Scope scope(workspace);
  float* scratch = workspace.take<float>(parts * floats);
  const int64_t share = ((product.rows + parts - 1) / parts + kRowStep - 1) / kRowStep * kRowStep;
  const auto run = [&](int64_t index) {
    const int64_t first = index * share, end = std::min(first + share, product.rows);
    if (first >= end) return;
    cpu::PlainProduct part = product;
    part.a += first * product.a_row;
    part.c += first * product.c_stride;
    part.rows = end - first;
    part.scratch = scratch + index * floats;
    multiply(part);
  };
  if (parts == 1) return run(0);
  threads->parallel_for(parts, [&](int64_t index, int) { run(index); });
}

}  // namespace

void linear_backward(const Rows& x, std::span<const LinearWeight> weights,
                     const LinearGradients& gradients, Workspace& workspace) {
  const cpu::GradientKernels& kernels = workspace.kernels().backward;
  const Workspace::Scope scope(workspace);
  const PlainRows d_y = gradients.d_y, d_x = gradients.d_x;
  int64_t column = 0;
  bool adds = gradients.adds;
  for (const LinearWeight& weight : weights) {
    const float* d_part = d_y.values + column;
    for (int64_t r = 0; r < x.count() && weight.d_bias != nullptr; ++r) {
      kernels.add(d_y.row(r) + column, weight.rows, weight.bias_factor, weight.d_bias);
    }
    if (weight.d_values != nullptr) {
      multiply_shared({.a = d_part,  // d_W = d_yᵀ · x
                       .a_row = 1,
                       .a_depth = d_y.stride,
                       .b = x.row(0),
                       .b_stride = x.stride(),
                       .rows = weight.rows,
                       .columns = x.width(),
                       .depth = x.count(),
                       .factor = weight.factor,
                       .adds = true,
                       .c = weight.d_values,
                       .c_stride = x.width(),
                       .scratch = nullptr},
                      workspace);
    }
    column += weight.rows;
    if (d_x.values == nullptr) continue;
    multiply_shared({.a = d_part,  // d_x = d_y · W
                     .a_row = d_y.stride,
                     .a_depth = 1,
                     .b = weight.values,
                     .b_stride = x.width(),
                     .rows = x.count(),
                     .columns = x.width(),
                     .depth = weight.rows,
                     .factor = weight.factor,
                     .adds = adds,
                     .c = d_x.values,
                     .c_stride = d_x.stride,
                     .scratch = nullptr},
                    workspace);
    adds = true;
  }
}

}  // namespace heddle::ops
