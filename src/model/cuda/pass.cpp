#include "heddle/model/cuda/pass.h"

#include <numeric>

#include "heddle/base/error.h"
#include "heddle/model/layers_of_pass.h"
#include "heddle/ops/cuda/dropout_key.h"

namespace heddle::model {

template void run_encoder(cuda::Pass&, const PackedRows&, ops::cuda::Rows&);
template void run_decoder(cuda::Pass&, const DecoderRows&, DecoderMemoryOf<cuda::Pass>&,
                          ops::cuda::Rows&);

}  // namespace heddle::model

namespace heddle::model::cuda {

namespace ag = autograd::cuda;

void PositionTables::extend(int64_t count) {
  if (count <= count_) return;
  count_ = std::max<int64_t>(2 * count_, (count + 127) / 128 * 128);
  Allocator& memory = heddle::cuda::block_allocator(context_.device().index);
  const auto to_gpu = [&](const Tensor& table) {
    Tensor made = Tensor::empty(table.shape(), DType::f32, memory);
    heddle::cuda::copy(table, made, context_.stream());
    context_.synchronize();
    return made;
  };
  if (weights_.encoder_ends.positions_number < 0) {
    std::vector<int32_t> all(static_cast<size_t>(count_));
    std::iota(all.begin(), all.end(), 0);
    ops::Workspace workspace;
    const ops::Positions table = weights_.encoder_ends.positions.rows(all, workspace);
    if (table.table != nullptr) {
      computed_ =
          to_gpu(Tensor::wrap(const_cast<float*>(table.table), {count_, weights_.config.width},
                              {weights_.config.width, 1}, DType::f32));
    }
  }
  for (int side = 0; side < 2; ++side) {
    const StackEnds& ends = side == 0 ? weights_.encoder_ends : weights_.decoder_ends;
    if (!ends.rotary.used()) continue;
    const int64_t width = ends.attention.head_width;
    const Tensor table = Tensor::empty({count_, width}, DType::f32);
    for (int64_t p = 0; p < count_; ++p) ends.rotary.compute(p, table.data<float>() + p * width);
    angles_[side] = to_gpu(table);
  }
}

const float* PositionTables::added(const StackEnds& ends) const {
  if (ends.positions_number >= 0) {
    return parameters_.value(ends.positions_number) +
           ends.positions.offset() * weights_.config.width;
  }
  return computed_.defined() ? computed_.data<float>() : nullptr;
}

ops::cuda::DropoutKey Pass::next_dropout(double probability) {
  ops::Dropout dropout = settings_.dropout;
  dropout.probability = probability;
  dropout.site = site_++;
  dropout.first_row += first_row_;
  return ops::cuda::dropout_key(dropout);
}

void Pass::linear(const Rows& x, const Projection& projection, const After& after, Rows& y) {
  ag::linear(run_, x, parts_.parameters.linear(projection), after.activation, after.residual, y);
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

void Pass::norm_heads(const HeadNorms&, const AttentionShape&, Rows&) {
  HEDDLE_CHECK(false, "model: norms of heads on a GPU; expected a model without them");
}

void Pass::add(const Rows& y, Rows& x, bool drops) {
  ag::add(run_, y, drops ? next_dropout(settings_.dropout.probability) : ops::cuda::DropoutKey{},
          x);
}

void Pass::copy(const Rows& x, Rows& y) {
  if (run_.tape != nullptr) {
    y = x;
    return;
  }
  HEDDLE_CUDA_CHECK(ops::cuda::launch_add({.extent = x.extent(),
                                           .first = {nullptr, 0},
                                           .second = x.view(),
                                           .y = y.view(),
                                           .dropout = {}},
                                          parts_.machine.stream()));
}

void Pass::gate(const Rows& x, const ops::Next&, Rows& y) {
  ag::glu(run_, x, weights().activation, y);
}

void Pass::embed(std::span<const int32_t> tokens, const StackEnds& ends,
                 std::span<const int32_t> positions, const ops::Next&, Rows& x) {
  const DeviceParameters& parameters = parts_.parameters;
  const bool decodes = &ends == &weights().decoder_ends;
  const BatchSide& side = decodes ? parts_.batch.target() : parts_.batch.source();
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
             .by_token = side.by_token,
             .by_position = side.by_position},
            x);
}

void Pass::turn(const RotaryTable& rotary, std::span<const int32_t> positions, int64_t heads,
                Rows& x) {
  const bool decodes = &rotary == &weights().decoder_ends.rotary;
  const StackEnds& ends = decodes ? weights().decoder_ends : weights().encoder_ends;
  ag::turn(run_,
           {.heads = heads,
            .head_width = ends.attention.head_width,
            .positions = positions.data(),
            .table = parts_.tables.angles(ends)},
           x);
}

void Pass::ssru_scan(const Rows& gates, std::span<const int32_t> offsets, Rows& y) {
  ag::ssru_scan(run_, gates, offsets.data(), std::ssize(offsets) - 1, y);
}

void Pass::attend(const Rows& q, const KeysOf<Rows>& keys, const Visible& visible,
                  const AttentionShape& shape, Rows& out, const AlignmentRows* alignments) {
  HEDDLE_CHECK(alignments == nullptr && visible.device_mask != nullptr && keys.rows != nullptr,
               "model: attention on a GPU; expected a mask, and no alignments");
  const auto columns = [&](int64_t first) {
    return keys.rows->columns(first, first + shape.keys());
  };
  ag::attention(run_,
                {.q = q,
                 .k = columns(keys.first_key),
                 .v = columns(keys.first_value),
                 .heads = shape.heads,
                 .kv_heads = shape.kv_heads},
                *visible.mask, *visible.device_mask, out);
}

}  // namespace heddle::model::cuda
