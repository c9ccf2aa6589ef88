#include "heddle/model/cuda/trained_parameters.h"

#include <algorithm>
#include <utility>

#include "heddle/ops/cuda/launch.h"

namespace heddle::model::cuda {

TrainedParameters::TrainedParameters(TrainedLayout layout, heddle::cuda::Context& context)
    : context_(context), layout_(std::move(layout)) {
  Allocator& memory = heddle::cuda::block_allocator(context.device().index);
  const Shape shape{std::max<int64_t>(count(), TrainedLayout::kAlignment)};  // something, always
  values_ = Tensor::empty(shape, DType::f32, memory);
  gradients_ = Tensor::empty(shape, DType::f32, memory);
  copies_ = Tensor::empty(shape, DType::bf16, memory);
  heddle::cuda::zero(values_, context.stream());
  heddle::cuda::zero(copies_, context.stream());
  zero_gradients();
}

int64_t TrainedParameters::bytes() const {
  return values_.elements() * int64_t{2 * sizeof(float) + sizeof(BFloat16)};
}

void TrainedParameters::zero_gradients() { heddle::cuda::zero(gradients_, context_.stream()); }

void TrainedParameters::refresh_copies() {
  if (count() == 0) return;
  HEDDLE_CUDA_CHECK(
      ops::cuda::launch_convert(values(), count(), 1, copies(), Half::bf16, context_.stream()));
}

void TrainedParameters::upload(std::span<const Tensor> from, float* array) const {
  for (size_t i = 0; i < from.size(); ++i) {
    const Shape& shape = from[i].shape();
    heddle::cuda::copy(from[i],
                       Tensor::wrap(array + layout_.offsets[i], shape, shape.row_major_strides(),
                                    DType::f32, context_.device()),
                       context_.stream());
  }
  context_.synchronize();
}

void TrainedParameters::download(const float* array, std::span<Tensor> to) const {
  for (size_t i = 0; i < to.size(); ++i) {
    const Shape& shape = to[i].shape();
    heddle::cuda::copy(Tensor::wrap(const_cast<float*>(array) + layout_.offsets[i], shape,
                                    shape.row_major_strides(), DType::f32, context_.device()),
                       to[i], context_.stream());
  }
  context_.synchronize();
}

}  // namespace heddle::model::cuda
