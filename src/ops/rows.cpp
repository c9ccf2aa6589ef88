#include "heddle/ops/rows.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops {

namespace {

int64_t code_stride(int64_t width) {
  return (width + kCodeAlignment - 1) / kCodeAlignment * kCodeAlignment;
}

}  // namespace

Rows::Rows(int64_t count, int64_t width, Workspace& workspace)
    : Rows(workspace.take<float>(count * width), count, width, width, workspace) {}

Rows::Rows(float* values, int64_t count, int64_t width, int64_t stride, Workspace& workspace)
    : values_(values),
      count_(count),
      width_(width),
      stride_(stride),
      code_memory_(workspace.take<uint8_t>(count * code_stride(width))),
      step_memory_(workspace.take<float>(count)) {
  HEDDLE_CHECK(count >= 0 && width >= 1 && stride >= width, "rows: found [", count, ", ", width,
               "] with stride ", stride);
}

Rows::Rows(float* values, int64_t count, int64_t width, Gradient* gradient)
    : values_(values),
      count_(count),
      width_(width),
      stride_(width),
      code_memory_(nullptr),
      step_memory_(nullptr),
      gradient_(gradient) {
  HEDDLE_CHECK(count >= 0 && width >= 1, "rows: found [", count, ", ", width, "]");
}

Rows Rows::columns(int64_t begin, int64_t end, Workspace& workspace) {
  HEDDLE_CHECK(0 <= begin && begin < end && end <= width_, "rows: columns [", begin, ", ", end,
               ") of ", width_);
  if (code_memory_ != nullptr) {
    return {values_ + begin, count_, end - begin, stride_, workspace};
  }
  Rows view = *this;
  view.values_ += begin;
  view.width_ = end - begin;
  view.gradient_column_ += begin;
  return view;
}

const Codes& Rows::codes(float step, Workspace& workspace) {
  HEDDLE_CHECK(code_memory_ != nullptr, "rows: codes of rows on a tape; expected floats alone");
  const bool asked_before = codes_.step == step && (codes_.steps != nullptr) == (step == 0);
  if (state_ != State::values && asked_before) return codes_;
  HEDDLE_CHECK(has_values(), "rows: values were not kept, and codes are of step ", codes_.step,
               "; asked for step ", step);
  const cpu::Kernels& kernels = workspace.kernels();
  codes_ = {.data = code_memory_,
            .stride = code_stride(width_),
            .zero = 127,
            .steps = step == 0 ? step_memory_ : nullptr,
            .step = step};
  for (int64_t r = 0; r < count_; ++r) {
    float inverse = 1 / step;
    if (step == 0) {
      const float largest = kernels.largest(row(r), width_);
      step_memory_[r] = largest / 127;
      inverse = largest > 0 ? 127 / largest : 0;
    }
    uint8_t* to = code_memory_ + r * codes_.stride;
    kernels.quantize(row(r), width_, inverse, codes_.zero, to);
  }
  state_ = State::both;
  fill_padding();
  return codes_;
}

void Rows::fill_padding() {
  const int64_t written = (width_ + cpu::kTile - 1) / cpu::kTile * cpu::kTile;
  if (written == codes_.stride) return;
  for (int64_t r = 0; r < count_; ++r) {
    uint8_t* row = code_memory_ + r * codes_.stride;
    std::fill(row + written, row + codes_.stride, static_cast<uint8_t>(codes_.zero));
  }
}

uint8_t* Rows::fill_codes(float step, int zero, bool only_codes) {
  codes_ = {.data = code_memory_,
            .stride = code_stride(width_),
            .zero = zero,
            .steps = nullptr,
            .step = step};
  state_ = only_codes ? State::codes : State::both;
  fill_padding();
  return code_memory_;
}

}  // namespace heddle::ops
