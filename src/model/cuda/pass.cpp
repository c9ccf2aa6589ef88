#include "heddle/model/cuda/pass.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "heddle/attention/cuda/decode.h"
#include "heddle/base/error.h"
#include "heddle/model/layers_of_pass.h"
#include "heddle/ops/cuda/decode.h"
#include "heddle/ops/cuda/dropout_key.h"

namespace heddle::model {

template void run_encoder(cuda::Pass&, const PackedRows&, ops::cuda::Rows&);
template void run_decoder(cuda::Pass&, const DecoderRows&, DecoderMemoryOf<cuda::Pass>&,
                          ops::cuda::Rows&);

}  // namespace heddle::model

namespace heddle::model::cuda {

namespace ag = autograd::cuda;

const StackEnds& PositionTables::ends_of(int side) const {
  return side == 0 ? weights_.encoder_ends : weights_.decoder_ends;
}

PositionTables::Rotary PositionTables::rotary(int number) const {
  const StackEnds& ends = ends_of(number == 0 ? 0 : 1);
  return {number < 2 ? ends.rotary : ends.sliding_rotary, ends.attention.head_width};
}

/// On the host, rows of all positions; undefined when nothing is added.
Tensor PositionTables::added_table(const StackEnds& ends) const {
  const int64_t most = weights_.config.max_positions, width = weights_.config.width;
  const bool learned = ends.positions_number >= 0;
  std::vector<int32_t> all(static_cast<size_t>(learned ? std::min(count_, most) : count_));
  std::iota(all.begin(), all.end(), 0);
  ops::Workspace workspace;
  const ops::Positions rows = ends.positions.rows(all, workspace);
  if (rows.table == nullptr) return {};
  const Tensor table = Tensor::empty({count_, width}, DType::f32);
  std::fill_n(table.data<float>(), table.elements(), 0.0f);
  std::copy_n(rows.table, std::ssize(all) * width, table.data<float>());
  return table;
}

bool PositionTables::extend(int64_t count) {
  if (count <= count_) return false;
  count_ = std::max<int64_t>(2 * count_, (count + 127) / 128 * 128);
  Allocator& memory = heddle::cuda::block_allocator(context_.device().index);
  const auto to_gpu = [&](const Tensor& table) {
    Tensor made = Tensor::empty(table.shape(), DType::f32, memory);
    heddle::cuda::copy(table, made, context_.stream());
    context_.synchronize();
    return made;
  };
  for (int side = 0; side < 2; ++side) {
    const StackEnds& ends = ends_of(side);
    const bool is_parameter = ends.positions_number >= 0 && parameters_.is_trained();
    const Tensor added = is_parameter ? Tensor{} : added_table(ends);
    if (added.defined()) computed_[side] = to_gpu(added);
  }
  for (int i = 0; i < kRotaries; ++i) {
    const auto [rotary, width] = this->rotary(i);
    if (!rotary.used()) continue;
    const Tensor table = Tensor::empty({count_, width}, DType::f32);
    for (int64_t p = 0; p < count_; ++p) rotary.compute(p, table.data<float>() + p * width);
    angles_[i] = to_gpu(table);
  }
  return true;
}

const float* PositionTables::angles(const RotaryTable& rotary) const {
  for (int i = 0; i < kRotaries; ++i) {
    if (&this->rotary(i).table == &rotary) return angles_[i].data<float>();
  }
  detail::throw_error("model: a table of rotary positions that is none of the model's");
}

const float* PositionTables::added(const StackEnds& ends) const {
  if (ends.positions_number >= 0 && parameters_.is_trained()) {
    return parameters_.value(ends.positions_number) +
           ends.positions.offset() * weights_.config.width;
  }
  const Tensor& table = computed_[&ends == &weights_.decoder_ends ? 1 : 0];
  return table.defined() ? table.data<float>() : nullptr;
}

ops::cuda::DropoutKey Pass::next_dropout(double probability) {
  ops::Dropout dropout = settings_.dropout;
  dropout.probability = probability;
  dropout.site = site_++;
  dropout.first_row += first_row_;
  return ops::cuda::dropout_key(dropout);
}

void Pass::linear(const Rows& x, const Projection& projection, const After& after, Rows& y) {
  const Projection::Part& part = projection.parts.front();
  const Rows input = x;
  ag::linear(run_, input, parts_.parameters.linear(projection), after.activation, after.residual,
             y);
  if (!part.low_rank || parts_.adapter == nullptr) return;
  HEDDLE_CHECK(after.activation == ops::Activation::none,
               "model: an adapter before an activation; expected a gated feed-forward");
  add_low_rank(input, part, y);
}

void Pass::add_low_rank(const Rows& x, const Projection::Part& part, const Rows& y) {
  const Scope scope(*this);
  Rows input = x;  // the adapter's, with dropout of its own
  if (const double probability = part.low_rank->dropout; trains_ && probability > 0) {
    const ops::cuda::DropoutKey key = next_dropout(probability);
    if (run_.tape == nullptr) {
      input = rows(x.count(), x.width());
      HEDDLE_CUDA_CHECK(ops::cuda::launch_add({.extent = x.extent(),
                                               .first = {nullptr, 0},
                                               .second = x.view(),
                                               .y = input.view(),
                                               .dropout = key},
                                              parts_.machine.stream()));
    } else {
      ag::drop(run_, key, input);
    }
  }
  ag::add_low_rank(run_, input, parts_.adapter->products(part), y);
}

void Pass::norm(Rows& x, const Rows* residual, const NormWeights& norm, const ops::Next&, Rows& y,
                bool drops) {
  const DeviceParameters& parameters = parts_.parameters;
  ag::norm(run_, x, residual,
           {.weight = parameters.value(norm.weight_number),
            .bias = parameters.value(norm.bias_number),
            .d_weight = parameters.gradient(norm.weight_number),
            .d_bias = parameters.gradient(norm.bias_number),
            .epsilon = static_cast<float>(weights().config.norm_epsilon),
            .subtracts_mean = weights().config.norm == Norm::layer_norm},
           drops ? next_dropout(settings_.dropout.probability) : ops::cuda::DropoutKey{}, y);
}

void Pass::norm_heads(const HeadNorms& norms, const AttentionShape& shape, Rows& x) {
  const DeviceParameters& parameters = parts_.parameters;
  ag::norm_heads(run_, x,
                 {.heads = shape.heads,
                  .kv_heads = shape.kv_heads,
                  .head_width = shape.head_width,
                  .query_weight = parameters.value(norms.queries.weight_number),
                  .key_weight = parameters.value(norms.keys.weight_number),
                  .d_query_weight = parameters.gradient(norms.queries.weight_number),
                  .d_key_weight = parameters.gradient(norms.keys.weight_number),
                  .epsilon = static_cast<float>(weights().config.norm_epsilon)},
                 x);
}

void Pass::add(const Rows& y, Rows& x, bool drops) {
  ag::add(run_, y, drops ? next_dropout(settings_.dropout.probability) : ops::cuda::DropoutKey{},
          x);
}

void Pass::copy(const Rows& x, Rows& y) {
  if (run_.tape != nullptr) {
    y = x;
  } else {
    ag::copy(parts_.machine, x, y);
  }
}

void Pass::gate(const Rows& x, const ops::Next&, Rows& y) {
  ag::glu(run_, x, weights().activation, y);
}

void Pass::embed(std::span<const int32_t> tokens, const StackEnds& ends,
                 std::span<const int32_t> positions, const ops::Next&, Rows& x) {
  const DeviceParameters& parameters = parts_.parameters;
  const bool decodes = &ends == &weights().decoder_ends;
  const BatchSide* side = nullptr;
  if (run_.tape != nullptr) side = decodes ? &parts_.batch->target() : &parts_.batch->source();
  float* learned = parameters.gradient(ends.positions_number);
  if (learned != nullptr) learned += ends.positions.offset() * x.width();
  ag::embed(run_,
            {.tokens = tokens.data(),
             .table = parameters.copy(ends.embedding_number),
             .scale = ends.scale,
             .positions = parts_.tables.added(ends),
             .of_row = positions.data(),
             .d_table = parameters.gradient(ends.embedding_number),
             .d_positions = learned,
             .by_token = side != nullptr ? side->by_token : ops::cuda::RowGroups{},
             .by_position = side != nullptr ? side->by_position : ops::cuda::RowGroups{}},
            x);
}

void Pass::turn(const RotaryTable& rotary, std::span<const int32_t> positions, int64_t heads,
                Rows& x) {
  const bool encodes = &rotary == &weights().encoder_ends.rotary;
  const StackEnds& ends = encodes ? weights().encoder_ends : weights().decoder_ends;
  ag::turn(run_,
           {.heads = heads,
            .head_width = ends.attention.head_width,
            .positions = positions.data(),
            .table = parts_.tables.angles(rotary)},
           x);
}

void Pass::ssru_scan(const Rows& gates, std::span<const int32_t> offsets, Rows& y) {
  ag::ssru_scan(run_, gates, offsets.data(), std::ssize(offsets) - 1, y);
}

void Pass::ssru_step(const Rows& gates, const LayerPast& past, Rows& y) {
  HEDDLE_CUDA_CHECK(ops::cuda::launch_ssru_step({.extent = y.extent(),
                                                 .gates = gates.view(),
                                                 .out = y.view(),
                                                 .cells = past.cells,
                                                 .at = past.at.data()},
                                                parts_.machine.stream()));
}

void Pass::store(const Rows& x, const KeyColumns& columns, const LayerPast& past) {
  const auto view = [&](int64_t first) { return x.columns(first, first + columns.width).view(); };
  HEDDLE_CUDA_CHECK(
      ops::cuda::launch_store_rows({.extent = {x.count(), columns.width},
                                    .keys = view(columns.first_key),
                                    .values = view(columns.first_value),
                                    .at = past.at.data(),
                                    .key_pool = static_cast<BFloat16*>(past.keys),
                                    .value_pool = static_cast<BFloat16*>(past.values)},
                                   parts_.machine.stream()));
}

void Pass::attend(const Rows& q, const KeysOf<Rows>& keys, const Visible& visible,
                  const AttentionShape& shape, Rows& out, const AlignmentRows* alignments) {
  if (visible.device_mask == nullptr) {
    return attend_over_ranges(q, keys, visible, shape, out, alignments);
  }
  HEDDLE_CHECK(alignments == nullptr && keys.rows != nullptr,
               "model: attention under a mask on a GPU; expected no alignments");
  const auto columns = [&](int64_t first) {
    return keys.rows->columns(first, first + shape.keys());
  };
  ag::attention(run_,
                {.q = q,
                 .k = columns(keys.first_key),
                 .v = columns(keys.first_value),
                 .heads = shape.heads,
                 .kv_heads = shape.kv_heads,
                 .scale = shape.scale},
                *visible.mask, *visible.device_mask, out);
}

void Pass::attend_over_ranges(const Rows& q, const KeysOf<Rows>& keys, const Visible& visible,
                              const AttentionShape& shape, Rows& out,
                              const AlignmentRows* alignments) {
  HEDDLE_CHECK(
      run_.tape == nullptr && keys.dtype == stored_as(q.half()),
      "model: attention over ranges on a GPU; expected keys of the queries' type, no tape");
  const int head = weights().config.alignment_head;
  HEDDLE_CUDA_CHECK(attention::cuda::launch_row_decode(
      {.half = q.half(),
       .rows = q.count(),
       .q = q.row(0),
       .q_stride = q.stride(),
       .keys = static_cast<const BFloat16*>(keys.keys),
       .values = static_cast<const BFloat16*>(keys.values),
       .token_stride = keys.stride,
       .begin = visible.begin.data(),
       .length = visible.length.data(),
       .heads = static_cast<int32_t>(shape.heads),
       .kv_heads = static_cast<int32_t>(shape.kv_heads),
       .head_dim = static_cast<int32_t>(shape.head_width),
       .scale = static_cast<float>(
           shape.scale.value_or(1.0 / std::sqrt(static_cast<double>(shape.head_width)))),
       .out = out.row(0),
       .out_stride = out.stride(),
       .weights = alignments != nullptr ? alignments->values : nullptr,
       .first_head = std::max(head, 0),
       .weight_heads = head < 0 ? static_cast<int32_t>(shape.heads) : 1,
       .weights_stride = alignments != nullptr ? alignments->stride : 0,
       .stream = parts_.machine.stream()}));
}

}  // namespace heddle::model::cuda
