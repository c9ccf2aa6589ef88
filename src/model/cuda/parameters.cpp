#include "heddle/model/cuda/parameters.h"

#include <algorithm>
#include <string>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::model::cuda {

using autograd::cuda::ParameterRange;

void each_projection(const Weights& weights, const std::function<void(const Projection&)>& visit) {
  for (const EncoderLayer& layer : weights.encoder) {
    visit(layer.attention.in);
    visit(layer.attention.out);
    visit(layer.feed_forward.in);
    visit(layer.feed_forward.out);
  }
  for (const DecoderLayer& layer : weights.decoder) {
    visit(layer.attention.in);
    visit(layer.attention.out);
    visit(layer.ssru.gates);
    visit(layer.cross.queries);
    visit(layer.cross.keys_values);
    visit(layer.cross.out);
    visit(layer.feed_forward.in);
    visit(layer.feed_forward.out);
  }
}

/// Gives each parameter its place.
class DeviceParameters::Placer {
 public:
  explicit Placer(const Weights& weights) : weights_(weights) {
    layout_.shapes = parameters_of(weights.config);
    layout_.offsets.assign(layout_.shapes.size(), -1);
    factors_.assign(layout_.shapes.size(), 1.0f);
  }

  TrainedLayout run() {
    each_projection(weights_, [this](const Projection& projection) { place_weights(projection); });
    place_table(weights_.output_number);
    place_rest(true);
    layout_.matrices = layout_.count;
    each_projection(weights_, [this](const Projection& projection) { place_biases(projection); });
    place_table(weights_.output_bias_number);
    place_rest(false);
    return layout_;
  }

  /// Where the bias of a projection begins; −1: it has none.
  int64_t bias_of(const Projection& projection) const {
    const auto found = biases_.find(&projection);
    return found == biases_.end() ? -1 : found->second;
  }

  /// Of a parameter in its copy.
  float factor(size_t number) const { return factors_[number]; }

 private:
  void align() { layout_.count = TrainedLayout::aligned(layout_.count); }

  void place(ParameterNumber number, float factor = 1) {
    const auto at = static_cast<size_t>(number);
    HEDDLE_CHECK(layout_.offsets[at] < 0, "training: parameter ", number,
                 " is part of two projections");
    layout_.offsets[at] = layout_.count;
    factors_[at] = factor;
    layout_.count += layout_.shapes[at].shape.elements();
  }

  void place_weights(const Projection& projection) {
    if (projection.parts.empty()) return;
    HEDDLE_CHECK(projection.parts.size() == 1, "training: projections that stand apart; ",
                 "expected single precision throughout");
    align();
    for (const Projection::Part::Source& source : projection.parts.front().sources) {
      place(source.weight, source.weight_factor);
    }
  }

  void place_biases(const Projection& projection) {
    if (projection.parts.empty() || projection.parts.front().bias.empty()) return;
    align();
    biases_[&projection] = layout_.count;
    for (const Projection::Part::Source& source : projection.parts.front().sources) {
      if (source.bias >= 0) {
        place(source.bias, source.bias_factor);
      } else {
        layout_.count += source.rows;  // stays 0
      }
    }
  }

  /// The output's table or bias, with zeros behind it.
  void place_table(ParameterNumber number) {
    if (number < 0) return;
    align();
    place(number);
    const Shape& shape = layout_.shapes[static_cast<size_t>(number)].shape;
    layout_.count += (padded(shape[0]) - shape[0]) * (shape.rank() > 1 ? shape[1] : 1);
  }

  void place_rest(bool matrices) {
    for (size_t i = 0; i < layout_.shapes.size(); ++i) {
      if (layout_.offsets[i] >= 0 || (layout_.shapes[i].shape.rank() > 1) != matrices) continue;
      align();
      place(static_cast<ParameterNumber>(i));
    }
    align();
  }

  const Weights& weights_;
  TrainedLayout layout_;
  std::vector<float> factors_;  // by number
  std::unordered_map<const Projection*, int64_t> biases_;
};

DeviceParameters::DeviceParameters(const Weights& weights, const ModelFiles& files,
                                   heddle::cuda::Context& context, Use use,
                                   const TrainedParameters* apart, Half half)
    : context_(context), half_(half) {
  HEDDLE_CHECK(half == Half::bf16 || (use == Use::frozen && apart == nullptr),
               "model: parameters in f16 that are trained on a GPU; expected bf16");
  Placer placer(weights);
  layout_ = placer.run();
  if (use == Use::training) {
    trained_ = std::make_unique<TrainedParameters>(layout_, context);
    copies_ = trained_->copies();
    for (size_t i = 0; i < layout_.shapes.size(); ++i) {
      if (placer.factor(i) == 1) continue;
      const auto number = static_cast<ParameterNumber>(i);
      others_.push_back({trained_->value(number), layout_.shapes[i].shape.elements(),
                         placer.factor(i), copies_ + offset(number)});
    }
    load_trained(files);
  } else {
    load_frozen(files, placer);
    if (apart != nullptr) find_apart(*apart, placer);
  }
  refresh_others();
  each_projection(weights, [&](const Projection& projection) {
    if (!projection.parts.empty()) make_linear(projection, placer);
  });
}

void DeviceParameters::load_trained(const ModelFiles& files) {
  for (size_t i = 0; i < layout_.shapes.size(); ++i) {
    const ParameterShape& each = layout_.shapes[i];
    heddle::cuda::copy(to_f32(files.parameters.require(each.name, each.shape)),
                       Tensor::wrap(trained_->value(static_cast<ParameterNumber>(i)), each.shape,
                                    each.shape.row_major_strides(), DType::f32, context_.device()),
                       context_.stream());
  }
  context_.synchronize();
  trained_->refresh_copies();
}

void DeviceParameters::load_frozen(const ModelFiles& files, const Placer& placer) {
  Allocator& memory = heddle::cuda::block_allocator(context_.device().index);
  const int64_t vectors = layout_.count - layout_.matrices;
  frozen_copies_ = Tensor::empty({layout_.count}, stored_as(half_), memory);
  frozen_vectors_ =
      Tensor::empty({std::max<int64_t>(vectors, TrainedLayout::kAlignment)}, DType::f32, memory);
  copies_ = static_cast<BFloat16*>(frozen_copies_.raw());
  const heddle::cuda::StreamHandle stream = context_.stream();
  heddle::cuda::zero(frozen_copies_, stream);
  heddle::cuda::zero(frozen_vectors_, stream);
  int64_t largest = 0;
  for (const ParameterShape& each : layout_.shapes) {
    largest = std::max(largest, each.shape.elements());
  }
  Tensor staging;  // f32, of one matrix after the other
  for (size_t i = 0; i < layout_.shapes.size(); ++i) {
    const Shape& shape = layout_.shapes[i].shape;
    const Parameter& given = files.parameters.require(layout_.shapes[i].name, shape);
    const int64_t at = layout_.offsets[i];
    const auto view = [&](void* data, DType type) {
      return Tensor::wrap(data, shape, shape.row_major_strides(), type, context_.device());
    };
    if (at < layout_.matrices && given.values.dtype() == stored_as(half_) &&
        placer.factor(i) == 1) {
      heddle::cuda::copy(given.values, view(copies_ + at, given.values.dtype()), stream);
      continue;
    }
    if (at < layout_.matrices && !staging.defined()) {
      staging = Tensor::empty({largest}, DType::f32, memory);
    }
    float* singles = at < layout_.matrices
                         ? staging.data<float>()
                         : frozen_vectors_.data<float>() + (at - layout_.matrices);
    heddle::cuda::copy(to_f32(given), view(singles, DType::f32), stream);
    HEDDLE_CUDA_CHECK(ops::cuda::launch_convert(singles, shape.elements(), placer.factor(i),
                                                copies_ + at, half_, stream));
  }
  context_.synchronize();  // the staging goes back to the driver
}

void DeviceParameters::find_apart(const TrainedParameters& apart, const Placer& placer) {
  apart_ = &apart;
  std::unordered_map<std::string, int32_t> places;
  for (const ParameterShape& each : apart.shapes()) {
    places.emplace(each.name, static_cast<int32_t>(places.size()));
  }
  apart_places_.assign(layout_.shapes.size(), -1);
  for (size_t i = 0; i < layout_.shapes.size(); ++i) {
    const auto found = places.find(layout_.shapes[i].name);
    if (found == places.end()) continue;
    apart_places_[i] = found->second;
    others_.push_back({apart.value(found->second), layout_.shapes[i].shape.elements(),
                       placer.factor(i), copies_ + layout_.offsets[i]});
  }
}

namespace {

/// Appends a range of something trained, to the last one where they lie next to each other.
void add_range(const ParameterRange& range, int64_t row_elements,
               std::vector<ParameterRange>& ranges) {
  if (range.d_values == nullptr) return;
  if (!ranges.empty()) {
    ParameterRange& last = ranges.back();
    if (last.end == range.begin && last.factor == range.factor &&
        last.d_values + (last.end - last.begin) * row_elements == range.d_values) {
      last.end = range.end;
      return;
    }
  }
  ranges.push_back(range);
}

}  // namespace

void DeviceParameters::make_linear(const Projection& projection, const Placer& placer) {
  const Projection::Part& part = projection.parts.front();
  const int64_t in = part.matrix.columns(), bias = placer.bias_of(projection);
  std::vector<ParameterRange> weights, biases;
  int64_t row = 0;
  for (const Projection::Part::Source& source : part.sources) {
    const int64_t end = row + source.rows;
    add_range({row, end, source.weight_factor, gradient(source.weight)}, in, weights);
    add_range({row, end, source.bias_factor, gradient(source.bias)}, 1, biases);
    row = end;
  }
  ranges_.push_back(std::move(weights));
  ranges_.push_back(std::move(biases));
  const size_t last = ranges_.size() - 1;
  linears_.emplace(&projection, autograd::cuda::Linear{.weight = copy(part.sources.front().weight),
                                                       .bias = bias < 0 ? nullptr : copies_ + bias,
                                                       .out = projection.width,
                                                       .in = in,
                                                       .weights = ranges_[last - 1],
                                                       .biases = ranges_[last]});
}

int64_t DeviceParameters::bytes() const {
  if (trained_) return trained_->bytes();
  return frozen_copies_.elements() * int64_t{sizeof(BFloat16)} +
         frozen_vectors_.elements() * int64_t{sizeof(float)};
}

const float* DeviceParameters::value(ParameterNumber number) const {
  if (number < 0) return nullptr;
  if (trained_) return trained_->value(number);
  if (const int32_t place = place_apart(number); place >= 0) return apart_->value(place);
  const int64_t place = offset(number) - layout_.matrices;
  HEDDLE_CHECK(place >= 0, "model: the f32 values of matrix ", number,
               " on a GPU; expected a vector, or a model that is trained");
  return frozen_vectors_.data<float>() + place;
}

float* DeviceParameters::gradient(ParameterNumber number) const {
  if (number < 0) return nullptr;
  if (trained_) return trained_->gradient(number);
  const int32_t place = place_apart(number);
  return place < 0 ? nullptr : apart_->gradient(place);
}

void DeviceParameters::round_copies() {
  HEDDLE_CHECK(trained_ != nullptr,
               "quantize_bits: found frozen weights; expected a model that is "
               "trained as a whole");
  for (size_t i = 0; i < layout_.shapes.size(); ++i) {
    const auto& [name, shape, dtype] = layout_.shapes[i];
    if (!is_quantised(name, shape)) continue;
    const auto number = static_cast<ParameterNumber>(i);
    float factor = 1;
    for (const Other& each : others_) {
      if (each.from == trained_->value(number)) factor = each.factor;
    }
    HEDDLE_CUDA_CHECK(ops::cuda::launch_round_rows({.rows = shape[0],
                                                    .columns = shape[1],
                                                    .from = trained_->value(number),
                                                    .factor = factor,
                                                    .to = trained_->copy(number)},
                                                   context_.stream()));
  }
}

void DeviceParameters::refresh_others() {
  for (const Other& each : others_) {
    HEDDLE_CUDA_CHECK(ops::cuda::launch_convert(each.from, each.count, each.factor, each.to, half_,
                                                context_.stream()));
  }
}

}  // namespace heddle::model::cuda
