#include "heddle/model/cuda/chooser.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "heddle/base/error.h"

namespace heddle::model::cuda {

namespace {

/// Logits made at a time: 32 MB, which leaves room for the weights in a cache of 50.
constexpr int64_t kBlock = int64_t{8} << 20;

constexpr int64_t kColumnStep = 64;  // that tables are padded to

int64_t columns_at_once(int64_t rows, int64_t padded) {
  return std::clamp(kBlock / rows / kColumnStep * kColumnStep, kColumnStep, padded);
}

Tensor on_gpu(const Shape& shape, DType dtype, heddle::cuda::Context& context) {
  return Tensor::empty(shape, dtype, heddle::cuda::block_allocator(context.device().index));
}

}  // namespace

Chooser::Chooser(const InferenceTransformer& model, int64_t rows, std::span<const float> bias,
                 heddle::cuda::Context& context)
    : model_(model),
      context_(context),
      vocabulary_(model.config().target_vocabulary),
      padded_(DeviceParameters::padded(vocabulary_)),
      host_bias_(bias.begin(), bias.end()),
      bias_(on_gpu({padded_}, DType::f32, context)),
      block_(on_gpu({std::max({kBlock, kColumnStep * rows, padded_})}, DType::f32, context)),
      ids_(on_gpu({rows * ops::cuda::kMostChoices}, DType::i32, context)),
      values_(on_gpu({rows * ops::cuda::kMostChoices}, DType::f32, context)),
      greatest_(on_gpu({rows}, DType::f32, context)),
      sums_(on_gpu({rows}, DType::f32, context)) {
  HEDDLE_CHECK(std::ssize(bias) == vocabulary_, "model: a bias of ", bias.size(),
               " numbers for the output; expected ", vocabulary_);
  const Tensor host = Tensor::empty({padded_}, DType::f32);
  std::fill_n(host.data<float>(), padded_, -std::numeric_limits<float>::infinity());
  std::ranges::copy(bias, host.data<float>());
  heddle::cuda::copy(host, bias_, context.stream());
  context.synchronize();
}

void Chooser::choose(const BFloat16* hidden, int64_t rows, const ops::cuda::Choices& best,
                     const Restriction& restriction, ops::cuda::Gemm& gemm) {
  if (restriction.given()) forbid(rows, restriction);
  const int64_t width = model_.config().width, most = columns_at_once(rows, padded_);
  const BFloat16* table = model_.parameters().copy(model_.weights().output_number);
  for (int64_t first = 0; first < padded_; first += most) {
    const int64_t columns = std::min(most, padded_ - first);
    gemm.multiply({.m = rows,
                   .n = columns,
                   .k = width,
                   .a = {hidden, width},
                   .b = {table + first * width, width, true},
                   .c = block_.raw(),
                   .c_stride = columns,
                   .single = true});
    HEDDLE_CUDA_CHECK(ops::cuda::launch_choose(
        {.extent = {rows, columns},
         .first = first,
         .logits = block_.data<float>(),
         .bias = bias_.data<float>() + first,
         .forbidden =
             restriction.given() ? static_cast<const uint32_t*>(forbidden_.raw()) : nullptr,
         .words = padded_ / 32,
         .best = best},
        context_.stream()));
  }
}

void Chooser::best(const BFloat16* hidden, int64_t rows, const Restriction& restriction,
                   ops::cuda::Gemm& gemm) {
  choose(hidden, rows,
         {.k = 1,
          .ids = ids_.data<int32_t>(),
          .logits = values_.data<float>(),
          .greatest = nullptr,
          .sums = nullptr},
         restriction, gemm);
}

RankedTokens Chooser::top(const BFloat16* hidden, int64_t rows, int k,
                          const Restriction& restriction, ops::cuda::Gemm& gemm) {
  HEDDLE_CHECK(k >= 1 && k <= ops::cuda::kMostChoices, "model: asked for the best ", k,
               "; expected 1 … ", ops::cuda::kMostChoices);
  choose(hidden, rows,
         {.k = k,
          .ids = ids_.data<int32_t>(),
          .logits = values_.data<float>(),
          .greatest = greatest_.data<float>(),
          .sums = sums_.data<float>()},
         restriction, gemm);
  const auto count = static_cast<size_t>(rows);
  RankedTokens ranked{.ids = std::vector<int32_t>(count * static_cast<size_t>(k)),
                      .logits = std::vector<float>(count * static_cast<size_t>(k)),
                      .log_sums = std::vector<float>(count)};
  std::vector<float> sums(count);
  const auto fetch = [this](const Tensor& from, auto& to, DType dtype) {
    const int64_t size = std::ssize(to);
    heddle::cuda::copy(from.slice(0, 0, size), Tensor::wrap(to.data(), {size}, {1}, dtype),
                       context_.stream());
  };
  fetch(ids_, ranked.ids, DType::i32);
  fetch(values_, ranked.logits, DType::f32);
  fetch(greatest_, ranked.log_sums, DType::f32);
  fetch(sums_, sums, DType::f32);
  context_.synchronize();
  for (size_t r = 0; r < count; ++r) ranked.log_sums[r] += std::log(sums[r]);
  return ranked;
}

void Chooser::logits(const BFloat16* hidden, int64_t rows, std::span<float> values,
                     ops::cuda::Gemm& gemm) {
  const int64_t width = model_.config().width;
  const int64_t most = block_.elements() / padded_;
  std::vector<float> fetched;
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    gemm.multiply({.m = count,
                   .n = padded_,
                   .k = width,
                   .a = {hidden + first * width, width},
                   .b = {model_.parameters().copy(model_.weights().output_number), width, true},
                   .c = block_.raw(),
                   .c_stride = padded_,
                   .single = true});
    fetched.resize(static_cast<size_t>(count * padded_));
    heddle::cuda::copy(block_.slice(0, 0, count * padded_),
                       Tensor::wrap(fetched.data(), {count * padded_}, {1}, DType::f32),
                       context_.stream());
    context_.synchronize();
    for (int64_t r = 0; r < count; ++r) {
      const float* from = fetched.data() + r * padded_;
      float* to = values.data() + (first + r) * vocabulary_;
      for (int64_t n = 0; n < vocabulary_; ++n) {
        to[n] = from[n] + host_bias_[static_cast<size_t>(n)];
      }
    }
  }
}

void Chooser::forbid(int64_t rows, const Restriction& restriction) {
  const int64_t words = padded_ / 32;
  if (!forbidden_.defined() || forbidden_.elements() < rows * words) {
    forbidden_ = {};  // before more is asked for
    forbidden_ = on_gpu({rows * words}, DType::i32, context_);
  }
  const ops::cuda::Forbidden forbidden{rows, words, static_cast<uint32_t*>(forbidden_.raw())};
  const bool all = !restriction.candidates.empty();
  HEDDLE_CUDA_CHECK(ops::cuda::launch_fill_bits(forbidden, all, context_.stream()));
  mark(restriction.candidates, false, forbidden);
  mark(restriction.banned, true, forbidden);
}

void Chooser::mark(std::span<const std::span<const int32_t>> lists, bool bit,
                   const ops::cuda::Forbidden& forbidden) {
  std::vector<int32_t> rows, tokens;
  for (size_t r = 0; r < lists.size(); ++r) {
    for (const int32_t token : lists[r]) {
      HEDDLE_CHECK(token >= 0 && token < vocabulary_, "model: token ", token,
                   " in a list of candidates, or of what is banned; expected 0 … ",
                   vocabulary_ - 1);
      rows.push_back(static_cast<int32_t>(r));
      tokens.push_back(token);
    }
  }
  if (rows.empty()) return;
  copied_.wait();
  staging_.clear();
  const int64_t rows_at = staging_.put<int32_t>(rows), tokens_at = staging_.put<int32_t>(tokens);
  const Tensor lists_on_gpu = Tensor::empty({staging_.used()}, DType::i8, context_.memory());
  heddle::cuda::copy(staging_.memory().slice(0, 0, staging_.used()), lists_on_gpu,
                     context_.stream());
  copied_.record(context_.stream());
  const auto* base = static_cast<const std::byte*>(lists_on_gpu.raw());
  HEDDLE_CUDA_CHECK(ops::cuda::launch_mark_bits(forbidden,
                                                reinterpret_cast<const int32_t*>(base + rows_at),
                                                reinterpret_cast<const int32_t*>(base + tokens_at),
                                                std::ssize(rows), bit, context_.stream()));
}

}  // namespace heddle::model::cuda
