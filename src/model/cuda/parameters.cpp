#include "heddle/model/cuda/parameters.h"

#include <functional>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::model::cuda {

namespace {

constexpr int64_t kAlignment = 64;  // elements

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

}  // namespace

/// Gives each parameter its place.
class DeviceParameters::Placer {
 public:
  Placer(DeviceParameters& parameters, const Weights& weights, std::span<const Tensor> values)
      : to_(parameters), weights_(weights), values_(values) {
    to_.offsets_.assign(values.size(), -1);
  }

  void run() {
    each_projection(weights_, [this](const Projection& projection) { place_weights(projection); });
    place_table(weights_.output_number);
    place_rest(true);
    to_.matrices_ = end_;
    each_projection(weights_, [this](const Projection& projection) { place_biases(projection); });
    place_table(weights_.output_bias_number);
    place_rest(false);
  }

  int64_t end() const { return end_; }

  /// Where the bias of a projection begins; −1: it has none.
  int64_t bias_of(const Projection& projection) const {
    const auto found = biases_.find(&projection);
    return found == biases_.end() ? -1 : found->second;
  }

 private:
  void align() { end_ = (end_ + kAlignment - 1) / kAlignment * kAlignment; }

  void place(ParameterNumber number) {
    int64_t& offset = to_.offsets_[static_cast<size_t>(number)];
    HEDDLE_CHECK(offset < 0, "training: parameter ", number, " is part of two projections");
    offset = end_;
    end_ += values_[static_cast<size_t>(number)].elements();
  }

  void place_weights(const Projection& projection) {
    if (projection.parts.empty()) return;
    HEDDLE_CHECK(projection.parts.size() == 1, "training: projections that stand apart; ",
                 "expected single precision throughout");
    align();
    const Projection::Part& part = projection.parts.front();
    for (const Projection::Part::Source& source : part.sources) {
      const int64_t begin = end_;
      place(source.weight);
      if (source.weight_factor != 1) {
        to_.scaled_.push_back({begin, end_ - begin, source.weight_factor});
      }
    }
  }

  void place_biases(const Projection& projection) {
    if (projection.parts.empty() || projection.parts.front().bias.empty()) return;
    align();
    biases_[&projection] = end_;
    for (const Projection::Part::Source& source : projection.parts.front().sources) {
      const int64_t begin = end_;
      if (source.bias >= 0) {
        place(source.bias);
      } else {
        end_ += source.rows;  // stays 0
      }
      if (source.bias_factor != 1) to_.scaled_.push_back({begin, end_ - begin, source.bias_factor});
    }
  }

  /// The output's table or bias, with zeros behind it.
  void place_table(ParameterNumber number) {
    if (number < 0) return;
    align();
    place(number);
    const Shape& shape = values_[static_cast<size_t>(number)].shape();
    end_ += (padded(shape[0]) - shape[0]) * (shape.rank() > 1 ? shape[1] : 1);
  }

  void place_rest(bool matrices) {
    for (size_t i = 0; i < values_.size(); ++i) {
      if (to_.offsets_[i] >= 0 || (values_[i].rank() > 1) != matrices) continue;
      align();
      place(static_cast<ParameterNumber>(i));
    }
    align();
  }

  DeviceParameters& to_;
  const Weights& weights_;
  std::span<const Tensor> values_;
  int64_t end_ = 0;
  std::unordered_map<const Projection*, int64_t> biases_;
};

DeviceParameters::DeviceParameters(const Weights& weights, std::span<const Tensor> values,
                                   heddle::cuda::Context& context, Use use)
    : context_(context) {
  Placer placer(*this, weights, values);
  placer.run();
  Allocator& memory = heddle::cuda::block_allocator(context.device().index);
  values_ = Tensor::empty({placer.end()}, DType::f32, memory);
  if (use == Use::training) gradients_ = Tensor::empty({placer.end()}, DType::f32, memory);
  copies_ = Tensor::empty({placer.end()}, DType::bf16, memory);
  heddle::cuda::zero(values_, context.stream());
  if (use == Use::training) zero_gradients();
  upload(values, this->values());
  refresh_copies();
  if (use == Use::inference) keep_vectors();

  each_projection(weights, [&](const Projection& projection) {
    if (projection.parts.empty()) return;
    const Projection::Part& part = projection.parts.front();
    std::vector<autograd::cuda::ParameterRange> ranges[2];  // of weights and biases
    int64_t row = 0;
    for (const Projection::Part::Source& source : part.sources) {
      const int64_t end = row + source.rows;
      if (!ranges[0].empty() && ranges[0].back().factor == source.weight_factor) {
        ranges[0].back().end = end;  // they lie next to each other: one product
      } else {
        ranges[0].push_back({row, end, source.weight_factor, gradient(source.weight)});
      }
      if (source.bias >= 0 && !ranges[1].empty() && ranges[1].back().end == row &&
          ranges[1].back().factor == source.bias_factor) {
        ranges[1].back().end = end;
      } else if (source.bias >= 0) {
        ranges[1].push_back({row, end, source.bias_factor, gradient(source.bias)});
      }
      row = end;
    }
    for (auto& each : ranges) ranges_.push_back(std::move(each));
    const size_t last = ranges_.size() - 1;
    const int64_t bias = placer.bias_of(projection);
    const ParameterNumber first = part.sources.front().weight;
    linears_.emplace(&projection,
                     autograd::cuda::Linear{.weight = copy(first),
                                            .bias = bias < 0 ? nullptr : copies() + bias,
                                            .out = projection.width,
                                            .in = part.matrix.columns(),
                                            .weights = ranges_[last - 1],
                                            .biases = ranges_[last]});
  });
}

void DeviceParameters::keep_vectors() {
  const int64_t vectors = values_.elements() - matrices_;
  Tensor kept =
      Tensor::empty({vectors}, DType::f32, heddle::cuda::block_allocator(context_.device().index));
  if (vectors > 0) {
    heddle::cuda::copy(values_.slice(0, matrices_, matrices_ + vectors), kept, context_.stream());
  }
  context_.synchronize();  // the block goes back to the driver
  values_ = std::move(kept);
  first_value_ = matrices_;
}

int64_t DeviceParameters::bytes() const {
  const int64_t singles = values_.elements() + (is_trained() ? gradients_.elements() : 0);
  return singles * int64_t{sizeof(float)} + copies_.elements() * int64_t{sizeof(BFloat16)};
}

const float* DeviceParameters::value(ParameterNumber number) const {
  if (number < 0) return nullptr;
  const int64_t place = offset(number);
  HEDDLE_CHECK(place >= first_value_, "model: the f32 values of matrix ", number,
               " on a GPU; expected a vector, or a model that is trained");
  return values() + (place - first_value_);
}

void DeviceParameters::zero_gradients() { heddle::cuda::zero(gradients_, context_.stream()); }

void DeviceParameters::refresh_copies() {
  HEDDLE_CUDA_CHECK(ops::cuda::launch_convert(values(), count(), 1, copies(), context_.stream()));
  refresh_scaled();
}

void DeviceParameters::refresh_scaled() {
  for (const Scaled& part : scaled_) {
    HEDDLE_CUDA_CHECK(ops::cuda::launch_convert(values() + part.begin, part.count, part.factor,
                                                copies() + part.begin, context_.stream()));
  }
}

void DeviceParameters::round_copy(ParameterNumber number, const Shape& shape) {
  const int64_t begin = offset(number);
  float factor = 1;
  for (const Scaled& part : scaled_) {
    if (part.begin == begin) factor = part.factor;
  }
  HEDDLE_CUDA_CHECK(ops::cuda::launch_round_rows({.rows = shape[0],
                                                  .columns = shape[1],
                                                  .from = values() + begin,
                                                  .factor = factor,
                                                  .to = copies() + begin},
                                                 context_.stream()));
}

void DeviceParameters::upload(std::span<const Tensor> from, float* array) const {
  for (size_t i = 0; i < from.size(); ++i) {
    const Shape& shape = from[i].shape();
    heddle::cuda::copy(from[i],
                       Tensor::wrap(array + offsets_[i], shape, shape.row_major_strides(),
                                    DType::f32, context_.device()),
                       context_.stream());
  }
  context_.synchronize();
}

void DeviceParameters::download(const float* array, std::span<Tensor> to) const {
  for (size_t i = 0; i < to.size(); ++i) {
    const Shape& shape = to[i].shape();
    heddle::cuda::copy(Tensor::wrap(const_cast<float*>(array) + offsets_[i], shape,
                                    shape.row_major_strides(), DType::f32, context_.device()),
                       to[i], context_.stream());
  }
  context_.synchronize();
}

}  // namespace heddle::model::cuda
