#include "heddle/train/cuda/eight_bits.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "heddle/train/moment.h"

namespace heddle::train::cuda {

namespace {

using ops::cuda::StateBlock;

static_assert(Moment::kBlock == ops::cuda::kStateBlock);

/// The blocks of all parameters, one after the other.
struct Layout {
  std::vector<StateBlock> blocks;
  std::vector<int64_t> first_block, first_plain;  // of each parameter; −1: 8 bits
  int64_t plain = 0;                              // numbers in f32
};

Layout lay_out(const std::vector<model::ParameterShape>& shapes,
               const model::cuda::TrainedParameters& parameters) {
  Layout layout;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Shape& shape = shapes[i].shape;
    const int64_t begin = parameters.offset(static_cast<int64_t>(i));
    const bool coded = Moment::is_coded(shape, 8);
    layout.first_block.push_back(std::ssize(layout.blocks));
    layout.first_plain.push_back(coded ? -1 : layout.plain);
    for (int64_t at = 0; at < shape.elements(); at += Moment::kBlock) {
      layout.blocks.push_back(
          {.begin = begin + at,
           .plain = coded ? -1 : layout.plain + at,
           .count = static_cast<int32_t>(std::min(Moment::kBlock, shape.elements() - at)),
           .decays = shape.rank() > 1 ? 1 : 0});
    }
    if (!coded) layout.plain += shape.elements();
  }
  return layout;
}

/// Part of an array on the GPU.
template <typename T>
Tensor view(const Tensor& array, int64_t begin, const Shape& shape) {
  return Tensor::wrap(array.data<T>() + begin, shape, shape.row_major_strides(), array.dtype(),
                      array.device());
}

}  // namespace

EightBitMoments::EightBitMoments(model::cuda::TrainingTransformer& transformer) {
  heddle::cuda::Context& context = transformer.context();
  Allocator& memory = heddle::cuda::block_allocator(context.device().index);
  const auto upload = [&](const Tensor& host) {
    const Tensor made = Tensor::empty(host.shape(), host.dtype(), memory);
    heddle::cuda::copy(host, made, context.stream());
    context.synchronize();
    return made;
  };
  const auto zeros = [&](int64_t count) {
    const Tensor made = Tensor::empty({count}, DType::f32, memory);
    heddle::cuda::zero(made, context.stream());
    return made;
  };

  const std::vector<model::ParameterShape>& shapes = transformer.shapes();
  Layout layout = lay_out(shapes, transformer.parameters());
  const int64_t count = std::ssize(layout.blocks);
  blocks_ = upload(Tensor::wrap(
      layout.blocks.data(), {count * static_cast<int64_t>(sizeof(StateBlock))}, {1}, DType::i8));
  const Tensor codes = Tensor::empty({2, 256}, DType::f32);  // with a sign, without
  for (const int without : {0, 1}) {
    const std::span<const float> code = dynamic_code(without == 0);
    std::copy(code.begin(), code.end(), codes.data<float>() + 256 * without);
    const auto zero = std::find(code.begin(), code.end(), 0.0f) - code.begin();
    const Tensor places = Tensor::empty({transformer.parameters().count()}, DType::i8);
    std::memset(places.raw(), static_cast<int>(zero) - 128, static_cast<size_t>(places.elements()));
    places_[without] = upload(places);
    sizes_[without] = zeros(count);
    plain_[without] = zeros(layout.plain);
  }
  codes_ = upload(codes);
  state_ = {.blocks = static_cast<const StateBlock*>(blocks_.raw()),
            .block_count = count,
            .codes = codes_.data<float>(),
            .mean_places = places_[0].data<int8_t>(),
            .square_places = places_[1].data<int8_t>(),
            .mean_sizes = sizes_[0].data<float>(),
            .square_sizes = sizes_[1].data<float>(),
            .plain_means = plain_[0].data<float>(),
            .plain_squares = plain_[1].data<float>()};

  for (size_t i = 0; i < shapes.size(); ++i) {
    const Shape& shape = shapes[i].shape;
    for (const int moment : {0, 1}) {
      const std::string name = (moment == 0 ? "exp_avg." : "exp_avg_sq.") + shapes[i].name;
      if (layout.first_plain[i] >= 0) {
        tensors_.emplace(name, view<float>(plain_[moment], layout.first_plain[i], shape));
        continue;
      }
      const int64_t begin = transformer.parameters().offset(static_cast<int64_t>(i));
      tensors_.emplace(name, view<int8_t>(places_[moment], begin, shape));
      tensors_.emplace(name + ".absmax",
                       view<float>(sizes_[moment], layout.first_block[i],
                                   {(shape.elements() + Moment::kBlock - 1) / Moment::kBlock}));
    }
  }
}

}  // namespace heddle::train::cuda
