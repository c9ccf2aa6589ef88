// The operations of a Pass with a tape.
#include <cmath>

#include "heddle/autograd/functions.h"
#include "heddle/base/error.h"
#include "heddle/model/pass.h"

namespace heddle::model {

void Pass::record_linear(const ops::Rows& x, const Projection& projection, const After& after,
                         ops::Rows& y) {
  HEDDLE_CHECK(projection.parts.size() == 1, "model: training with projections that stand apart; ",
               "expected single precision throughout");
  const Projection::Part& part = projection.parts.front();
  const size_t count = part.sources.size();
  auto* weights = workspace_.take<ops::LinearWeight>(static_cast<int64_t>(count));
  for (size_t i = 0; i < count; ++i) {
    const Projection::Part::Source& source = part.sources[i];
    weights[i] = {.values = training_->value(source.weight),
                  .rows = source.rows,
                  .factor = source.weight_factor,
                  .d_values = training_->gradient(source.weight),
                  .d_bias = training_->gradient(source.bias),
                  .bias_factor = source.bias_factor};
  }
  autograd::linear(*tape_, x,
                   {.matrix = part.matrix,
                    .bias = part.bias.empty() ? nullptr : part.bias.data(),
                    .weights = {weights, count}},
                   after.activation, after.residual, y);
}

void Pass::record_norm(const ops::Rows& x, const ops::Rows* residual, const NormWeights& norm,
                       ops::Rows& y) {
  autograd::norm(*tape_, x, residual,
                 {.norm = {.weight = norm.weight.data(),
                           .bias = norm.bias.empty() ? nullptr : norm.bias.data(),
                           .epsilon = static_cast<float>(weights_.config.norm_epsilon)},
                  .subtracts_mean = weights_.config.norm == Norm::layer_norm,
                  .d_weight = training_->gradient(norm.weight_number),
                  .d_bias = training_->gradient(norm.bias_number)},
                 y);
}

void Pass::record_embed(std::span<const int32_t> tokens, const StackEnds& ends,
                        const ops::Positions& positions, ops::Rows& x) {
  float* learned = training_->gradient(ends.positions_number);
  if (learned != nullptr) learned += ends.positions.offset() * x.width();
  autograd::embed(*tape_, tokens,
                  {.table = ends.embedding,
                   .scale = ends.scale,
                   .positions = positions,
                   .gradients = {.d_table = training_->gradient(ends.embedding_number),
                                 .d_positions = learned}},
                  x);
}

void Pass::record_attend(const ops::Rows& q, const Keys& keys, const Visible& visible,
                         const AttentionShape& shape, ops::Rows& out) {
  HEDDLE_CHECK(keys.rows != nullptr && keys.rows->gradient() != nullptr,
               "model: keys of attention are not on the tape");
  const auto columns = [&](int64_t first) {
    return keys.rows->columns(first, first + shape.keys(), workspace_);
  };
  autograd::attention(*tape_,
                      {.q = q,
                       .k = columns(keys.first_key),
                       .v = columns(keys.first_value),
                       .heads = shape.heads,
                       .kv_heads = shape.kv_heads,
                       .scale = shape.scale},
                      {.mask = visible.mask, .plan = visible.plan}, out);
}

}  // namespace heddle::model
