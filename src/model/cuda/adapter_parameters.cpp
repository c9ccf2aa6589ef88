#include "heddle/model/cuda/adapter_parameters.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/ops/cuda/decompose.h"

namespace heddle::model::cuda {

namespace {

/// Gives each parameter its place.
class Placer {
 public:
  Placer(const Weights& weights, const LoraSettings& settings)
      : weights_(weights), base_(parameters_of(weights.config)) {
    const std::vector<std::string> saved = saved_parameters(weights.config, settings);
    for (size_t i = 0; i < base_.size(); ++i) {
      if (std::ranges::find(saved, base_[i].name) == saved.end()) continue;
      layout_.shapes.push_back(base_[i]);
      numbers_.push_back(static_cast<int64_t>(i));
    }
    for (const ParameterShape& each : lora_parameters(weights.config, settings)) {
      layout_.shapes.push_back(each);
      numbers_.push_back(std::ssize(base_) + own_++);
    }
    layout_.offsets.assign(layout_.shapes.size(), -1);
  }

  TrainedLayout run() {
    each_projection(weights_, [this](const Projection& projection) {
      if (!projection.parts.empty()) place_changes(projection.parts.front());
    });
    place_rest(true);
    layout_.matrices = layout_.count;
    place_rest(false);
    return layout_;
  }

 private:
  void align() { layout_.count = TrainedLayout::aligned(layout_.count); }

  void place(size_t i) {
    layout_.offsets[i] = layout_.count;
    layout_.count += layout_.shapes[i].shape.elements();
  }
  void place_own(ParameterNumber number) {
    place(static_cast<size_t>(std::ssize(layout_.shapes) - own_ + number - std::ssize(base_)));
  }

  void place_changes(const Projection::Part& part) {
    if (!part.low_rank) return;
    align();
    for (const LowRank::Change& change : part.low_rank->changes) place_own(change.a);
    for (const LowRank::Change& change : part.low_rank->changes) {
      align();
      place_own(change.b);
    }
  }

  void place_rest(bool matrices) {
    for (size_t i = 0; i < layout_.shapes.size(); ++i) {
      const Shape& shape = layout_.shapes[i].shape;
      if (layout_.offsets[i] >= 0 || (shape.rank() > 1) != matrices) continue;
      align();
      place(i);
      if (numbers_[i] == weights_.output_number || numbers_[i] == weights_.output_bias_number) {
        // The loss adds zeros behind the last row.
        layout_.count +=
            (DeviceParameters::padded(shape[0]) - shape[0]) * (shape.rank() > 1 ? shape[1] : 1);
      }
    }
    align();
  }

  const Weights& weights_;
  std::vector<ParameterShape> base_;
  std::vector<int64_t> numbers_;  // of the shapes
  int64_t own_ = 0;               // shapes of the adapter itself, the last ones
  TrainedLayout layout_;
};

}  // namespace

TrainedLayout adapter_layout(const Weights& weights, const LoraSettings& settings) {
  return Placer(weights, settings).run();
}

AdapterParameters::AdapterParameters(const Weights& weights, const Adapter& adapter,
                                     heddle::cuda::Context& context)
    : trained_(adapter_layout(weights, adapter.settings), context),
      base_(std::ssize(parameters_of(weights.config))),
      saved_(std::ssize(trained_.shapes()) -
             std::ssize(lora_parameters(weights.config, adapter.settings))) {
  std::vector<Tensor> values;
  int64_t magnitudes = 0;
  for (const ParameterShape& each : trained_.shapes()) {
    values.push_back(to_f32(adapter.parameters.require(each.name, each.shape)));
    if (each.name.ends_with("lora_magnitude_vector")) {
      magnitudes += TrainedLayout::aligned(each.shape.elements());
    }
  }
  trained_.upload(values, trained_.values());
  trained_.refresh_copies();
  if (magnitudes > 0) {
    factors_ = Tensor::empty({2, magnitudes}, DType::f32,
                             heddle::cuda::block_allocator(context.device().index));
  }
}

void AdapterParameters::join(const Weights& weights, const DeviceParameters& base) {
  each_projection(weights, [&](const Projection& projection) {
    if (!projection.parts.empty() && projection.parts.front().low_rank) {
      make_products(projection.parts.front(), base);
    }
  });
}

int64_t AdapterParameters::place(ParameterNumber number) const { return saved_ + number - base_; }

autograd::cuda::LowRankProducts::Up AdapterParameters::up_of(const LowRank::Change& change,
                                                             const DeviceParameters& base) {
  const int64_t b = place(change.b);
  autograd::cuda::LowRankProducts::Up up{.begin = change.first,
                                         .end = change.first + change.rows,
                                         .weight = trained_.copy(b),
                                         .d_weight = trained_.gradient(b)};
  if (change.magnitude < 0) return up;
  float* gain = factors_.data<float>() + factors_used_;
  factors_used_ += TrainedLayout::aligned(change.rows);
  up.base = base.copy(change.weight);
  up.gain = gain;
  up.inverse_length = gain + factors_.dim(1);
  up.d_magnitude = trained_.gradient(place(change.magnitude));
  return up;
}

void AdapterParameters::make_products(const Projection::Part& part, const DeviceParameters& base) {
  const LowRank& low = *part.low_rank;
  const int64_t rank = low.rank, inner = std::ssize(low.changes) * rank;
  const int64_t first = place(low.changes.front().a), columns = part.matrix.columns();
  std::vector<autograd::cuda::LowRankProducts::Up> ups;
  for (const LowRank::Change& change : low.changes) {
    ups.push_back(up_of(change, base));
    if (change.magnitude < 0) continue;
    float* gain = const_cast<float*>(ups.back().gain);
    gains_.push_back({.weight = ups.back().base,
                      .a = trained_.copy(place(change.a)),
                      .b = ups.back().weight,
                      .rows = change.rows,
                      .columns = columns,
                      .rank = rank,
                      .scale = low.scale,
                      .magnitude = trained_.value(place(change.magnitude)),
                      .gain = gain,
                      .inverse_length = gain + factors_.dim(1)});
  }
  downs_.push_back({{0, inner, 1, trained_.gradient(first)}});
  ups_.push_back(std::move(ups));
  products_.emplace(&part, autograd::cuda::LowRankProducts{.down = {.weight = trained_.copy(first),
                                                                    .bias = nullptr,
                                                                    .out = inner,
                                                                    .in = columns,
                                                                    .weights = downs_.back(),
                                                                    .biases = {}},
                                                           .ups = ups_.back(),
                                                           .rank = rank,
                                                           .scale = low.scale});
}

void AdapterParameters::refresh_gains(autograd::cuda::Machine& machine) {
  constexpr int64_t kElements = int64_t{8} << 20;  // of a change, at a time
  for (const Gain& each : gains_) {
    const ops::Workspace::Scope scope(machine.scratch);
    const int64_t most = std::clamp<int64_t>(kElements / each.columns, 1, each.rows);
    auto* change = machine.scratch.take<float>(most * each.columns);  // scale · B A
    for (int64_t first = 0; first < each.rows; first += most) {
      const int64_t rows = std::min(most, each.rows - first);
      machine.gemm().multiply({.m = rows,
                               .n = each.columns,
                               .k = each.rank,
                               .a = {each.b + first * each.rank, each.rank},
                               .b = {each.a, each.columns},
                               .c = change,
                               .c_stride = each.columns,
                               .single = true,
                               .alpha = each.scale});
      HEDDLE_CUDA_CHECK(ops::cuda::launch_gains({.extent = {rows, each.columns},
                                                 .weight = each.weight + first * each.columns,
                                                 .change = change,
                                                 .magnitude = each.magnitude + first,
                                                 .gain = each.gain + first,
                                                 .inverse_length = each.inverse_length + first},
                                                machine.stream()));
    }
  }
}

}  // namespace heddle::model::cuda
