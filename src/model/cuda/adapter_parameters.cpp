#include "heddle/model/cuda/adapter_parameters.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/cuda/parameters.h"

namespace heddle::model::cuda {

namespace {

constexpr int64_t kRankStep = 8;  // columns of B begin at multiples of 16 bytes

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

void AdapterParameters::check(const LoraSettings& settings) {
  if (settings.targets.empty()) return;
  HEDDLE_CHECK(settings.rank % kRankStep == 0, "lora_rank: found ", settings.rank,
               "; expected a multiple of ", kRankStep, " on a GPU. Hint: device: cpu");
  HEDDLE_CHECK(!settings.use_dora,
               "use_dora: found true; expected false on a GPU. Hint: device: cpu");
}

AdapterParameters::AdapterParameters(const Weights& weights, const Adapter& adapter,
                                     heddle::cuda::Context& context)
    : trained_(adapter_layout(weights, adapter.settings), context),
      base_(std::ssize(parameters_of(weights.config))),
      saved_(trained_.shapes().size() - lora_parameters(weights.config, adapter.settings).size()) {
  std::vector<Tensor> values;
  for (const ParameterShape& each : trained_.shapes()) {
    values.push_back(to_f32(adapter.parameters.require(each.name, each.shape)));
  }
  trained_.upload(values, trained_.values());
  trained_.refresh_copies();
  each_projection(weights, [this](const Projection& projection) {
    if (!projection.parts.empty() && projection.parts.front().low_rank) {
      make_products(projection.parts.front());
    }
  });
}

int64_t AdapterParameters::place(ParameterNumber number) const { return saved_ + number - base_; }

void AdapterParameters::make_products(const Projection::Part& part) {
  const LowRank& low = *part.low_rank;
  const int64_t rank = low.rank, inner = std::ssize(low.changes) * rank;
  const int64_t first = place(low.changes.front().a);
  std::vector<autograd::cuda::LowRankProducts::Up> ups;
  for (const LowRank::Change& change : low.changes) {
    const int64_t b = place(change.b);
    ups.push_back({.begin = change.first,
                   .end = change.first + change.rows,
                   .weight = trained_.copy(b),
                   .d_weight = trained_.gradient(b)});
  }
  downs_.push_back({{0, inner, 1, trained_.gradient(first)}});
  ups_.push_back(std::move(ups));
  products_.emplace(&part, autograd::cuda::LowRankProducts{.down = {.weight = trained_.copy(first),
                                                                    .bias = nullptr,
                                                                    .out = inner,
                                                                    .in = part.matrix.columns(),
                                                                    .weights = downs_.back(),
                                                                    .biases = {}},
                                                           .ups = ups_.back(),
                                                           .rank = rank,
                                                           .scale = low.scale});
}

}  // namespace heddle::model::cuda
