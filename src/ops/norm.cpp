#include "heddle/ops/norm.h"

#include "heddle/base/error.h"
#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops {

namespace {

struct Sum {  // of x and, unless null, the residual
  const Rows& x;
  const Rows* residual;
};

void normalize(const Sum& sum, const Norm& norm, const Next& next, Rows& y, Workspace& workspace,
               bool subtract_mean) {
  const auto& [x, residual] = sum;
  HEDDLE_CHECK(x.count() == y.count() && x.width() == y.width() && x.has_values(), "norm: x [",
               x.count(), ", ", x.width(), "], y [", y.count(), ", ", y.width(),
               "]; expected equal shapes, with values");
  HEDDLE_CHECK(residual == nullptr || (residual->count() == x.count() &&
                                       residual->width() == x.width() && residual->has_values()),
               "norm: the residual has another shape than x, or codes alone");
  HEDDLE_CHECK(norm.weight != nullptr, "norm: no weight");
  const cpu::Kernels& kernels = workspace.kernels();
  uint8_t* codes = nullptr;
  int64_t codes_stride = 0;
  if (next.step > 0) {
    codes = y.fill_codes(next.step, 127, next.only_codes);
    codes_stride = y.codes(next.step, workspace).stride;
  } else {
    y.changed();
  }
  const Workspace::Scope scope(workspace);
  float* sums = next.step > 0 && next.only_codes ? workspace.take<float>(x.width()) : nullptr;
  for (int64_t r = 0; r < x.count(); ++r) {
    kernels.norm({.x = x.row(r),
                  .residual = residual != nullptr ? residual->row(r) : nullptr,
                  .weight = norm.weight,
                  .bias = norm.bias,
                  .width = x.width(),
                  .epsilon = norm.epsilon,
                  .subtract_mean = subtract_mean,
                  .y = sums == nullptr ? y.row(r) : nullptr,
                  .sums = sums == nullptr ? y.row(r) : sums,
                  .codes = codes != nullptr ? codes + r * codes_stride : nullptr,
                  .inverse_step = next.step > 0 ? 1 / next.step : 0});
  }
}

void normalize_backward(const Rows& x, const Rows* residual, const Norm& norm,
                        const NormGradients& gradients, Workspace& workspace, bool subtract_mean) {
  HEDDLE_CHECK(gradients.d_y.values != gradients.d_sum.values, "norm: d_sum is d_y");
  for (int64_t r = 0; r < x.count(); ++r) {
    workspace.kernels().backward.norm({.x = x.row(r),
                                       .residual = residual != nullptr ? residual->row(r) : nullptr,
                                       .weight = norm.weight,
                                       .width = x.width(),
                                       .epsilon = norm.epsilon,
                                       .subtract_mean = subtract_mean,
                                       .d_y = gradients.d_y.row(r),
                                       .d_sum = gradients.d_sum.row(r),
                                       .d_weight = gradients.d_weight,
                                       .d_bias = gradients.d_bias});
  }
}

}  // namespace

void layer_norm_backward(const Rows& x, const Rows* residual, const Norm& norm,
                         const NormGradients& gradients, Workspace& workspace) {
  normalize_backward(x, residual, norm, gradients, workspace, true);
}

void rms_norm_backward(const Rows& x, const Rows* residual, const Norm& norm,
                       const NormGradients& gradients, Workspace& workspace) {
  normalize_backward(x, residual, norm, gradients, workspace, false);
}

void layer_norm(const Rows& x, const Rows* residual, const Norm& norm, const Next& next, Rows& y,
                Workspace& workspace) {
  normalize({x, residual}, norm, next, y, workspace, true);
}

void rms_norm(const Rows& x, const Rows* residual, const Norm& norm, const Next& next, Rows& y,
              Workspace& workspace) {
  normalize({x, residual}, norm, next, y, workspace, false);
}

}  // namespace heddle::ops
