// A projection with an adapter: y = x·Wᵀ + bias + residual, then what the adapter adds.
#include <algorithm>

#include "heddle/autograd/low_rank.h"
#include "heddle/model/low_rank.h"
#include "heddle/model/pass.h"
#include "heddle/ops/linear.h"

namespace heddle::model {

/// x as the adapter reads it: with dropout of its own.
ops::Rows Pass::low_rank_input(const LowRank& low, ops::Rows& x) {
  if (training_ == nullptr || low.dropout == 0) return x;
  ops::Rows dropped = x;
  if (tape_ == nullptr) {
    dropped = ops::Rows(x.count(), x.width(), workspace_);
    copy(x, dropped);
  }
  drop(low.dropout, dropped);
  return dropped;
}

std::span<const ops::LinearWeight> Pass::weights_of(const Projection::Part& part) {
  if (tape_ == nullptr) return {};
  const auto count = static_cast<int64_t>(part.sources.size());
  auto* weights = workspace_.take<ops::LinearWeight>(count);
  for (size_t i = 0; i < part.sources.size(); ++i) {
    const Projection::Part::Source& source = part.sources[i];
    weights[i] = {.values = training_->value(source.weight),
                  .rows = source.rows,
                  .factor = source.weight_factor,
                  .d_values = training_->gradient(source.weight)};
  }
  return {weights, part.sources.size()};
}

std::span<const ops::LinearWeight> Pass::downs_of(const LowRank& low) {
  if (tape_ == nullptr) return {};
  auto* weights = workspace_.take<ops::LinearWeight>(std::ssize(low.changes));
  for (size_t i = 0; i < low.changes.size(); ++i) {
    const ParameterNumber a = low.changes[i].a;
    weights[i] = {
        .values = training_->value(a), .rows = low.rank, .d_values = training_->gradient(a)};
  }
  return {weights, low.changes.size()};
}

std::span<const ops::LinearWeight> Pass::up_of(const LowRank& low, const LowRank::Change& change) {
  if (tape_ == nullptr) return {};
  auto* weight = workspace_.take<ops::LinearWeight>(1);
  *weight = {.values = training_->value(change.b),
             .rows = change.rows,
             .factor = low.scale,
             .d_values = training_->gradient(change.b)};
  return {weight, 1};
}

void Pass::plain_linear(ops::Rows& x, const ops::Matrix& matrix,
                        std::span<const ops::LinearWeight> weights, ops::Rows& y) {
  if (tape_ == nullptr) return ops::linear(x, matrix, {}, y, workspace_);
  autograd::linear(*tape_, x, {matrix, nullptr, weights}, ops::Activation::none, nullptr, y);
}

void Pass::add_low_rank(ops::Rows& x, const Projection::Part& part, ops::Rows& y) {
  const Scope scope(*this);
  const LowRank& low = *part.low_rank;
  ops::Rows input = low_rank_input(low, x);
  ops::Rows inner = rows(x.count(), low.down.rows());  // [R, C · r]
  plain_linear(input, low.down, downs_of(low), inner);

  const bool decomposed = low.changes.front().magnitude >= 0;
  ops::Rows whole = rows(decomposed ? x.count() : 0, part.matrix.rows());  // W x, for DoRA
  if (decomposed) plain_linear(input, part.matrix, weights_of(part), whole);

  for (size_t i = 0; i < low.changes.size(); ++i) {
    const LowRank::Change& change = low.changes[i];
    const int64_t at = static_cast<int64_t>(i) * low.rank, end = change.first + change.rows;
    ops::Rows part_inner = inner.columns(at, at + low.rank, workspace_);
    ops::Rows part_y = y.columns(change.first, end, workspace_);
    if (!decomposed) {
      autograd::add_linear(tape_, part_inner, {change.up, nullptr, up_of(low, change)}, part_y,
                           workspace_);
      continue;
    }
    ops::Rows moved = rows(x.count(), change.rows);
    plain_linear(part_inner, change.up, up_of(low, change), moved);
    float* d_magnitude = tape_ != nullptr ? training_->gradient(change.magnitude) : nullptr;
    autograd::add_decomposed(tape_, whole.columns(change.first, end, workspace_), moved,
                             {change.gain.data(), change.inverse_length.data(), d_magnitude},
                             part_y);
  }
  y.changed();
}

}  // namespace heddle::model
