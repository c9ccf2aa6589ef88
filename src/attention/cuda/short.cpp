#include "heddle/attention/cuda/short/launch.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "heddle/attention/cuda/batched.h"
#include "heddle/attention/cuda/cuda.h"

namespace heddle::attention::cuda {

namespace {

/// Above so many visible pairs a key or row, tiles of 64 × 64 and more are quicker.
constexpr int64_t kMostPairs = 64;

/// One warp goes over all that looks at a key: a column much longer than the others is waited for.
constexpr int32_t kLongestColumn = 1024;

}  // namespace

bool short_applies(const Args& args, Pass pass) {
  return sm80_applies(args, pass) && args.q.dim(2) <= shorts::kMostHeadDim && args.softcap == 0 &&
         !args.sinks.defined() && !args.alibi_slopes.defined() && scale_of(args) > 0;
}

bool short_pays(const Args& args, Pass) {
  const std::optional<MaskReach> reach =
      args.device_mask != nullptr ? args.device_mask->reach() : args.mask->reach();
  const int64_t shorter = std::min(args.q.dim(0), args.k.dim(0));
  return reach && reach->longest <= kLongestColumn &&
         reach->pairs <= kMostPairs * shorter * args.mask->heads();
}

void short_forward(const Args& args) {
  MaskOnDevice mask(args);
  const BatchArgs batch = as_batch(args, *mask);
  check(batch);
  HEDDLE_CUDA_CHECK(shorts::forward({forward_launch(batch), (*mask).key_spans(),
                                     heddle::cuda::multiprocessors(args.q.device().index)}));
}

void short_backward(const Args& args, const Gradients& gradients) {
  MaskOnDevice mask(args);
  const BatchArgs batch = as_batch(args, *mask);
  const Gradients of_batch = as_batch(gradients);
  check(batch, of_batch);
  shorts::Backward p{backward_launch(batch, of_batch), (*mask).key_spans(),
                     heddle::cuda::multiprocessors(args.q.device().index)};
  const Tensor delta =
      Tensor::empty({1, args.q.dim(1), args.q.dim(0)}, DType::f32, args.cuda->memory());
  p.launch.delta = {delta.data<float>(), delta.stride(0), delta.stride(1)};
  HEDDLE_CUDA_CHECK(shorts::backward(p));
}

}  // namespace heddle::attention::cuda
