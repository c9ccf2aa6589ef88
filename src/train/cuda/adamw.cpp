#include "heddle/train/cuda/adamw.h"

#include <cmath>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/ops/cuda/launch.h"

namespace heddle::train::cuda {

namespace {

/// 64 bits from the GPU.
template <typename T>
T fetched(const T* from, const Tensor& to, heddle::cuda::Context& context) {
  heddle::cuda::copy(
      Tensor::wrap(const_cast<T*>(from), to.shape(), {1}, DType::i8, context.device()), to,
      context.stream());
  context.synchronize();
  return *static_cast<const T*>(to.raw());
}

}  // namespace

AdamW::AdamW(model::cuda::TrainingTransformer& transformer, const AdamWSettings& settings)
    : transformer_(transformer), settings_(settings) {
  settings.check();
  heddle::cuda::Context& context = transformer.context();
  Allocator& memory = heddle::cuda::block_allocator(context.device().index);
  const int64_t count = transformer.parameters().count();
  const auto make = [&] { return Tensor::empty({count}, DType::f32, memory); };
  if (settings.state_bits == 8) {
    eight_bits_ = std::make_unique<EightBitMoments>(transformer);
  } else {
    means_ = make();
    squares_ = make();
    heddle::cuda::zero(means_, context.stream());
    heddle::cuda::zero(squares_, context.stream());
  }
  if (settings.ema_decay > 0) {
    averages_ = make();
    heddle::cuda::copy(
        Tensor::wrap(transformer.parameters().values(), {count}, {1}, DType::f32, context.device()),
        averages_, context.stream());
  }
  scratch_ = Tensor::empty({ops::cuda::kSquareBlocks + 1}, DType::f64, memory);
  result_ = Tensor::empty({8}, DType::i8, heddle::cuda::pinned_allocator());
}

double AdamW::gradient_norm() {
  const model::cuda::TrainedParameters& parameters = transformer_.parameters();
  auto* sum = scratch_.data<double>();
  HEDDLE_CUDA_CHECK(ops::cuda::launch_sum_squares(parameters.gradients(), parameters.count(),
                                                  sum + 1, sum, transformer_.context().stream()));
  return std::sqrt(fetched<double>(sum, result_, transformer_.context()));
}

std::string AdamW::first_not_finite() {
  const model::cuda::TrainedParameters& parameters = transformer_.parameters();
  auto* first = reinterpret_cast<int64_t*>(scratch_.data<double>());
  const auto& shapes = transformer_.shapes();
  for (size_t i = 0; i < shapes.size(); ++i) {
    const auto number = static_cast<int64_t>(i);
    const int64_t count = shapes[i].shape.elements();
    HEDDLE_CUDA_CHECK(ops::cuda::launch_first_not_finite(parameters.gradient(number), count, first,
                                                         transformer_.context().stream()));
    if (fetched<int64_t>(first, result_, transformer_.context()) < count) return shapes[i].name;
  }
  return {};
}

void AdamW::update(int64_t step, double rate, double scale) {
  HEDDLE_CHECK(step >= 1, "adam: found step ", step, "; expected 1 or more");
  const model::cuda::TrainedParameters& parameters = transformer_.parameters();
  const AdamWFactors factors = factors_of(settings_, step, rate, scale);
  const ops::cuda::AdamWUpdate update{.count = parameters.count(),
                                      .decayed = parameters.matrices(),
                                      .values = parameters.values(),
                                      .means = eight_bits_ ? nullptr : means_.data<float>(),
                                      .squares = eight_bits_ ? nullptr : squares_.data<float>(),
                                      .averages = has_average() ? averages_.data<float>() : nullptr,
                                      .gradients = parameters.gradients(),
                                      .copies = parameters.copies(),
                                      .scale = factors.scale,
                                      .beta1 = settings_.beta1,
                                      .beta2 = settings_.beta2,
                                      .keep = factors.keep,
                                      .rate = factors.rate,
                                      .root = factors.root,
                                      .epsilon = factors.epsilon,
                                      .average_decay = settings_.ema_decay};
  const heddle::cuda::StreamHandle stream = transformer_.context().stream();
  HEDDLE_CUDA_CHECK(eight_bits_ ? ops::cuda::launch_adamw(update, eight_bits_->state(), stream)
                                : ops::cuda::launch_adamw(update, stream));
  transformer_.copies_written();
}

void AdamW::swap_average() {
  HEDDLE_CHECK(has_average(), "adam: there is no average of the weights; set ema_decay");
  const model::cuda::TrainedParameters& parameters = transformer_.parameters();
  HEDDLE_CUDA_CHECK(ops::cuda::launch_swap(parameters.values(), averages_.data<float>(),
                                           parameters.count(), parameters.copies(),
                                           transformer_.context().stream()));
  transformer_.copies_written();
}

std::map<std::string, Tensor> AdamW::tensors() const {
  std::map<std::string, Tensor> tensors;
  const auto add = [&](const std::string& prefix, const Tensor& array) {
    const std::vector<model::ParameterShape>& shapes = transformer_.shapes();
    for (size_t i = 0; i < shapes.size(); ++i) {
      const auto number = static_cast<int64_t>(i);
      const Shape& shape = shapes[i].shape;
      tensors.emplace(prefix + shapes[i].name,
                      Tensor::wrap(array.data<float>() + transformer_.parameters().offset(number),
                                   shape, shape.row_major_strides(), DType::f32, array.device()));
    }
  };
  if (eight_bits_) {
    tensors = eight_bits_->tensors();
  } else {
    add("exp_avg.", means_);
    add("exp_avg_sq.", squares_);
  }
  if (has_average()) add("ema.", averages_);
  return tensors;
}

std::map<std::string, Tensor> AdamW::state() {
  std::map<std::string, Tensor> state;
  for (const auto& [name, tensor] : tensors()) {
    const Tensor& host =
        state.emplace(name, Tensor::empty(tensor.shape(), tensor.dtype())).first->second;
    heddle::cuda::copy(tensor, host, transformer_.context().stream());
  }
  transformer_.context().synchronize();
  return state;
}

void AdamW::load(const std::string& path) {
  const std::map<std::string, Tensor> to = tensors();
  std::vector<model::ParameterShape> shapes;
  for (const auto& [name, tensor] : to) shapes.push_back({name, tensor.shape(), tensor.dtype()});
  const std::vector<Tensor> values = read_values(shapes, path);
  size_t next = 0;
  for (const auto& [name, tensor] : to) {
    heddle::cuda::copy(values[next++], tensor, transformer_.context().stream());
  }
  transformer_.context().synchronize();
}

}  // namespace heddle::train::cuda
