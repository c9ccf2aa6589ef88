#include "heddle/ops/activation.h"

#include <cmath>

#include "heddle/base/error.h"
#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops {

void activate(Rows& x, Activation activation, Workspace& workspace) {
  HEDDLE_CHECK(x.has_values(), "activate: x has codes alone");
  for (int64_t r = 0; r < x.count(); ++r) {
    workspace.kernels().activate(x.row(r), x.width(), activation);
  }
  x.changed();
}

void glu(const Rows& x, Activation activation, const Next& next, Rows& y, Workspace& workspace) {
  HEDDLE_CHECK(x.count() == y.count() && x.width() == 2 * y.width() && x.has_values(), "glu: x [",
               x.count(), ", ", x.width(), "], y [", y.count(), ", ", y.width(),
               "]; expected x [R, 2F], y [R, F]");
  for (int64_t r = 0; r < x.count(); ++r) {
    workspace.kernels().glu(x.row(r), x.row(r) + y.width(), y.width(), activation, y.row(r));
  }
  y.changed();
  if (next.step > 0) y.codes(next.step, workspace);
}

void activate_backward(const Rows& x, Activation activation, PlainRows d_y, PlainRows d_x,
                       Workspace& workspace) {
  const cpu::GradientKernels& kernels = workspace.kernels().backward;
  for (int64_t r = 0; r < x.count(); ++r) {
    kernels.activate(x.row(r), d_y.row(r), x.width(), activation, d_x.row(r));
  }
}

void glu_backward(const Rows& x, Activation activation, PlainRows d_y, PlainRows d_x,
                  Workspace& workspace) {
  const cpu::GradientKernels& kernels = workspace.kernels().backward;
  for (int64_t r = 0; r < x.count(); ++r) {
    kernels.glu(x.row(r), d_y.row(r), x.width() / 2, activation, d_x.row(r));
  }
}

void softmax(Rows& x, float* log_sums, Workspace& workspace) {
  HEDDLE_CHECK(x.has_values(), "softmax: x has codes alone");
  for (int64_t r = 0; r < x.count(); ++r) {
    float max = 0;
    const float sum = workspace.kernels().exponentials(x.row(r), x.width(), &max);
    const float factor = sum > 0 ? 1 / sum : 0;
    for (int64_t i = 0; i < x.width(); ++i) x.row(r)[i] *= factor;
    if (log_sums != nullptr) log_sums[r] = max + std::log(sum);
  }
  x.changed();
}

void log_softmax(Rows& x, float* log_sums, Workspace& workspace) {
  HEDDLE_CHECK(x.has_values(), "log_softmax: x has codes alone");
  const Workspace::Scope scope(workspace);
  float* copy = workspace.take<float>(x.width());
  for (int64_t r = 0; r < x.count(); ++r) {
    float* row = x.row(r);
    for (int64_t i = 0; i < x.width(); ++i) copy[i] = row[i];
    float max = 0;
    const float log_sum = std::log(workspace.kernels().exponentials(copy, x.width(), &max)) + max;
    for (int64_t i = 0; i < x.width(); ++i) row[i] -= log_sum;
    if (log_sums != nullptr) log_sums[r] = log_sum;
  }
  x.changed();
}

}  // namespace heddle::ops
