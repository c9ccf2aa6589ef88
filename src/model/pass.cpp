#include "heddle/model/pass.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "heddle/attention/attention.h"
#include "heddle/attention/decode.h"
#include "heddle/autograd/functions.h"
#include "heddle/base/error.h"
#include "heddle/base/half.h"
#include "heddle/ops/linear.h"
#include "heddle/ops/norm.h"
#include "heddle/ops/ssru.h"

namespace heddle::model {

namespace {

/// Writes row r of `from` [R, K · E] to row at[r] of a pool of keys or values.
void store_rows(const ops::Rows& from, std::span<const int32_t> at, DType dtype, void* pool) {
  const int64_t width = from.width();
  for (int64_t r = 0; r < from.count(); ++r) {
    const float* row = from.row(r);
    const int64_t first = at[static_cast<size_t>(r)] * width;
    if (dtype == DType::f32) {
      std::copy_n(row, width, static_cast<float*>(pool) + first);
    } else {
      auto* to = static_cast<BFloat16*>(pool) + first;
      for (int64_t i = 0; i < width; ++i) to[i] = BFloat16(row[i]);
    }
  }
}

}  // namespace

void Pass::linear(ops::Rows& x, const Projection& projection, const After& after, ops::Rows& y) {
  if (adapts_ && projection.parts.size() == 1 && projection.parts.front().low_rank) {
    HEDDLE_CHECK(after.activation == ops::Activation::none,
                 "model: an adapter before an activation; expected a gated feed-forward");
    linear_alone(x, projection, after, y);
    add_low_rank(x, projection.parts.front(), y);
    return;
  }
  linear_alone(x, projection, after, y);
}

void Pass::linear_alone(ops::Rows& x, const Projection& projection, const After& after,
                        ops::Rows& y) {
  if (tape_ != nullptr) return record_linear(x, projection, after, y);
  int64_t column = 0;
  for (const Projection::Part& part : projection.parts) {
    const ops::Epilogue epilogue{.bias = part.bias.empty() ? nullptr : part.bias.data(),
                                 .activation = after.activation,
                                 .residual = after.residual,
                                 .next = after.next};
    if (projection.parts.size() == 1) {
      ops::linear(x, part.matrix, epilogue, y, workspace_);
      return;
    }
    HEDDLE_CHECK(after.residual == nullptr, "model: a residual on projections that stand apart");
    const int64_t end = column + part.matrix.rows();
    ops::Rows columns = y.columns(column, end, workspace_);
    ops::Epilogue values_alone = epilogue;
    values_alone.next = {};
    ops::linear(x, part.matrix, values_alone, columns, workspace_);
    column = end;
  }
  y.changed();
}

void Pass::norm(ops::Rows& x, const ops::Rows* residual, const NormWeights& norm,
                const ops::Next& next, ops::Rows& y, bool drops) {
  if (drops) drop(x);
  if (tape_ != nullptr) return record_norm(x, residual, norm, y);
  const ops::Norm weights{.weight = norm.weight.data(),
                          .bias = norm.bias.empty() ? nullptr : norm.bias.data(),
                          .epsilon = static_cast<float>(weights_.config.norm_epsilon)};
  if (weights_.config.norm == Norm::rms_norm) {
    ops::rms_norm(x, residual, weights, next, y, workspace_);
  } else {
    ops::layer_norm(x, residual, weights, next, y, workspace_);
  }
}

void Pass::norm_heads(const HeadNorms& norms, const AttentionShape& shape, ops::Rows& x) {
  const auto of_heads = [&](const NormWeights& norm, int64_t first, int64_t heads) {
    return ops::HeadNorm{.first = first,
                         .heads = heads,
                         .width = shape.head_width,
                         .norm = {.weight = norm.weight.data(),
                                  .epsilon = static_cast<float>(weights_.config.norm_epsilon)}};
  };
  const std::array both{of_heads(norms.queries, 0, shape.heads),
                        of_heads(norms.keys, shape.queries(), shape.kv_heads)};
  if (tape_ == nullptr) return ops::norm_heads(x, both, x, workspace_);
  autograd::norm_heads(*tape_, x,
                       {.norms = both,
                        .d_weights = {training_->gradient(norms.queries.weight_number),
                                      training_->gradient(norms.keys.weight_number)}},
                       x);
}

void Pass::add(ops::Rows& y, ops::Rows& x, bool drops) {
  if (drops) drop(y);
  if (tape_ != nullptr) return autograd::add(*tape_, y, x);
  for (int64_t r = 0; r < x.count(); ++r) {
    float* to = x.row(r);
    const float* from = y.row(r);
    for (int64_t i = 0; i < x.width(); ++i) to[i] += from[i];
  }
  x.changed();
}

void Pass::copy(const ops::Rows& x, ops::Rows& y) {
  if (tape_ != nullptr) {
    y = x;
    return;
  }
  for (int64_t r = 0; r < x.count(); ++r) std::copy_n(x.row(r), x.width(), y.row(r));
  y.changed();
}

void Pass::gate(const ops::Rows& x, const ops::Next& next, ops::Rows& y) {
  if (tape_ != nullptr) return autograd::glu(*tape_, x, weights_.activation, y);
  ops::glu(x, weights_.activation, next, y, workspace_);
}

void Pass::embed(std::span<const int32_t> tokens, const StackEnds& ends,
                 std::span<const int32_t> positions, const ops::Next& next, ops::Rows& x) {
  const ops::Positions table = ends.positions.rows(positions, workspace_);
  if (tape_ != nullptr) return record_embed(tokens, ends, table, x);
  ops::embed(tokens, ends.embedding, ends.scale, table, next, x, workspace_);
}

void Pass::turn(const RotaryTable& rotary, std::span<const int32_t> positions, int64_t heads,
                ops::Rows& x) {
  rotary.turn(positions, heads, x);
  if (tape_ == nullptr) return;
  tape_->record_in_place(x, [turned = &rotary, positions, heads, x](autograd::Tape& tape) {
    turned->turn_back(positions, heads, tape.gradient(x));
  });
}

void Pass::ssru_scan(const ops::Rows& gates, std::span<const int32_t> offsets, ops::Rows& y) {
  if (tape_ != nullptr) return autograd::ssru_scan(*tape_, gates, offsets, y);
  ops::ssru_scan(gates, offsets, nullptr, y, workspace_);
}

void Pass::ssru_step(const ops::Rows& gates, const LayerPast& past, ops::Rows& y) {
  ops::ssru_step(gates, past.cells, past.at, y, workspace_);
}

void Pass::store(ops::Rows& x, const KeyColumns& columns, const LayerPast& past) {
  const auto store = [&](int64_t first, void* pool) {
    store_rows(x.columns(first, first + columns.width, workspace_), past.at, past.dtype, pool);
  };
  store(columns.first_key, past.keys);
  store(columns.first_value, past.values);
}

void Pass::drop(double probability, ops::Rows& x) {
  ops::Dropout dropout = training_->dropout;
  dropout.probability = probability;
  dropout.site = site_++;
  dropout.first_row += first_row_;
  if (tape_ != nullptr) return autograd::drop(*tape_, dropout, x);
  const ops::PlainRows plain{x.row(0), x.stride()};
  ops::drop(dropout, plain, x.count(), x.width(), plain);
  x.changed();
}

void Pass::attend(ops::Rows& q, const Keys& keys, const Visible& visible,
                  const AttentionShape& shape, ops::Rows& out, const AlignmentRows* alignments) {
  if (visible.mask != nullptr) {
    HEDDLE_CHECK(alignments == nullptr, "model: alignments under a mask; expected row views");
    if (tape_ != nullptr) return record_attend(q, keys, visible, shape, out);
    attend_under_mask(q, keys, visible, shape, out);
    return;
  }
  attention::RowDecode rows{.q = q.row(0),
                            .q_stride = q.stride(),
                            .keys = keys.keys,
                            .values = keys.values,
                            .token_stride = keys.stride,
                            .dtype = keys.dtype,
                            .begin = visible.begin,
                            .length = visible.length,
                            .heads = static_cast<int>(shape.heads),
                            .kv_heads = static_cast<int>(shape.kv_heads),
                            .head_dim = static_cast<int>(shape.head_width),
                            .scale = static_cast<float>(shape.scale.value_or(
                                1.0 / std::sqrt(static_cast<double>(shape.head_width)))),
                            .out = out.row(0),
                            .out_stride = out.stride()};
  if (alignments == nullptr) {
    attention::decode(rows);
    out.changed();
    return;
  }

  const ops::Workspace::Scope scope(workspace_);
  const int64_t longest = visible.length.empty() ? 0 : *std::ranges::max_element(visible.length);
  rows.weights = workspace_.take<float>(q.count() * shape.heads * longest);
  rows.weights_stride = shape.heads * longest;
  rows.weights_head_stride = longest;
  attention::decode(rows);
  out.changed();

  const int head = weights_.config.alignment_head;
  const int64_t first = std::max(head, 0), end = head < 0 ? shape.heads : first + 1;
  for (int64_t r = 0; r < q.count(); ++r) {
    float* to = alignments->values + r * alignments->stride;
    const int32_t length = visible.length[static_cast<size_t>(r)];
    std::fill(to, to + length, 0.0f);
    for (int64_t h = first; h < end; ++h) {
      const float* from = rows.weights + r * rows.weights_stride + h * longest;
      for (int32_t j = 0; j < length; ++j) to[j] += from[j] / static_cast<float>(end - first);
    }
  }
}

void Pass::attend_under_mask(ops::Rows& q, const Keys& keys, const Visible& visible,
                             const AttentionShape& shape, ops::Rows& out) {
  HEDDLE_CHECK(keys.dtype == DType::f32, "model: keys are ", name_of(keys.dtype),
               " under a mask; expected f32");
  const ops::Workspace::Scope scope(workspace_);
  const auto heads = [](float* data, int64_t rows, int64_t count, int64_t width, int64_t stride) {
    return Tensor::wrap(data, {rows, count, width}, {stride, width, 1}, DType::f32);
  };
  const auto pool = [&](const void* data) {  // read, never written
    return heads(static_cast<float*>(const_cast<void*>(data)), keys.tokens, shape.kv_heads,
                 shape.head_width, keys.stride);
  };
  float* lse = workspace_.take<float>(shape.heads * q.count());
  attention::forward(
      {.q = heads(q.row(0), q.count(), shape.heads, shape.head_width, q.stride()),
       .k = pool(keys.keys),
       .v = pool(keys.values),
       .out = heads(out.row(0), q.count(), shape.heads, shape.head_width, out.stride()),
       .lse = Tensor::wrap(lse, {shape.heads, q.count()}, {q.count(), 1}, DType::f32),
       .mask = visible.mask,
       .scale = shape.scale,
       .plan = visible.plan},
      visible.implementation);
  out.changed();
}

}  // namespace heddle::model
