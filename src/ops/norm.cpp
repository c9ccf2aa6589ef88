#include "heddle/ops/norm.h"

#include <algorithm>

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

void norm_heads(const Rows& x, std::span<const HeadNorm> norms, Rows& y, Workspace& workspace) {
  HEDDLE_CHECK(x.count() == y.count() && x.width() == y.width() && x.has_values(),
               "norm: heads of x [", x.count(), ", ", x.width(), "], y [", y.count(), ", ",
               y.width(), "]; expected equal shapes, with values");
  const cpu::Kernels& kernels = workspace.kernels();
  for (int64_t r = 0; r < x.count(); ++r) {
    if (x.row(r) != y.row(r)) std::copy_n(x.row(r), x.width(), y.row(r));
    for (const HeadNorm& each : norms) {
      for (int64_t h = 0; h < each.heads; ++h) {
        float* head = y.row(r) + each.first + h * each.width;
        kernels.norm({.x = head,
                      .residual = nullptr,
                      .weight = each.norm.weight,
                      .bias = nullptr,
                      .width = each.width,
                      .epsilon = each.norm.epsilon,
                      .subtract_mean = false,
                      .y = head,
                      .sums = head,
                      .codes = nullptr,
                      .inverse_step = 0});
      }
    }
  }
  y.changed();
}

void norm_heads_backward(const Rows& x, std::span<const HeadNorm> norms, PlainRows d_y,
                         PlainRows d_x, std::span<float* const> d_weights, Workspace& workspace) {
  HEDDLE_CHECK(d_y.values != d_x.values && norms.size() == d_weights.size(),
               "norm: d_x is d_y, or ", d_weights.size(), " gradients of ", norms.size(), " norms");
  for (int64_t r = 0; r < x.count(); ++r) {
    std::copy_n(d_y.row(r), x.width(), d_x.row(r));
    for (size_t i = 0; i < norms.size(); ++i) {
      for (int64_t h = 0; h < norms[i].heads; ++h) {
        const int64_t column = norms[i].first + h * norms[i].width;
        workspace.kernels().backward.norm({.x = x.row(r) + column,
                                           .residual = nullptr,
                                           .weight = norms[i].norm.weight,
                                           .width = norms[i].width,
                                           .epsilon = norms[i].norm.epsilon,
                                           .subtract_mean = false,
                                           .d_y = d_y.row(r) + column,
                                           .d_sum = d_x.row(r) + column,
                                           .d_weight = d_weights[i],
                                           .d_bias = nullptr});
      }
    }
  }
}

}  // namespace heddle::ops
