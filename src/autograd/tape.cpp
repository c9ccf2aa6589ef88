#include "heddle/autograd/tape.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/ops/cpu/kernels.h"

namespace heddle::autograd {

Tape::Tape(ops::Workspace& values, ops::Workspace& gradients)
    : values_(values), gradients_(gradients), values_scope_(values), gradients_scope_(gradients) {
  HEDDLE_CHECK(&values != &gradients, "tape: one workspace for values and gradients; expected two");
}

ops::Rows Tape::rows(int64_t count, int64_t width) {
  auto* gradient = values_.take<ops::Gradient>(1);
  *gradient = {.values = nullptr, .count = count, .width = width, .produced = false};
  return {values_.take<float>(count * width), count, width, gradient};
}

void Tape::result(ops::Rows& y) {
  if (y.gradient() == nullptr || y.gradient()->produced) y = rows(y.count(), y.width());
}

void Tape::run_back_to(size_t size) {
  while (entries_.size() > size) {
    const Entry entry = entries_.back();
    entries_.pop_back();
    if (entry.result->values == nullptr) continue;  // nothing depends on it
    entry.run(entry.function, *this);
    if (entry.releases) release(*entry.result);
  }
}

ops::PlainRows Tape::gradient(const ops::Rows& rows) {
  ops::Gradient& gradient = *rows.gradient();
  if (gradient.values == nullptr) {
    take(gradient);
    std::fill_n(gradient.values, gradient.count * gradient.width, 0.0f);
  }
  return {gradient.values + rows.gradient_column(), gradient.width};
}

void Tape::add(ops::PlainRows from, const ops::Rows& to) {
  if (to.gradient() == nullptr) return;
  const ops::PlainRows sum = gradient(to);
  const auto add_row = values_.kernels().backward.add;
  for (int64_t r = 0; r < to.count(); ++r) add_row(from.row(r), to.width(), 1, sum.row(r));
}

void Tape::pass_on(const ops::Rows& from, const ops::Rows& to) {
  if (to.gradient() == nullptr) return;
  if (!has_gradient(to) && is_whole(to) && is_whole(from)) {
    move_gradient(from, to);
  } else {
    add(gradient(from), to);
  }
}

void Tape::move_gradient(const ops::Rows& from, const ops::Rows& to) {
  HEDDLE_CHECK(!has_gradient(to) && is_whole(from) && is_whole(to), "tape: a gradient is there");
  to.gradient()->values = std::exchange(from.gradient()->values, nullptr);
}

ops::PlainRows Tape::take(ops::Gradient& gradient) {
  gradient.values = take_floats(gradient.count * gradient.width);
  return {gradient.values, gradient.width};
}

void Tape::release(ops::Gradient& gradient) {
  if (gradient.values == nullptr) return;
  give_back(std::exchange(gradient.values, nullptr), gradient.count * gradient.width);
}

float* Tape::take_floats(int64_t count) {
  std::vector<float*>& free = free_[count];
  if (free.empty()) return gradients_.take<float>(count);
  float* floats = free.back();
  free.pop_back();
  return floats;
}

void Tape::give_back(float* floats, int64_t count) { free_[count].push_back(floats); }

}  // namespace heddle::autograd
