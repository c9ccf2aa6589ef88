// What is trained of a model, on a GPU: f32 masters, their f32 gradients, and bf16 copies, which
// products read, an array each. Matrices lie before vectors, which no optimiser decays.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "heddle/model/parameters.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

/// Where each of some parameters lies in such an array, in elements.
struct TrainedLayout {
  std::vector<ParameterShape> shapes;
  std::vector<int64_t> offsets;  // of the shapes
  int64_t count = 0;             // with the gaps, which stay 0
  int64_t matrices = 0;          // elements before the first vector

  static constexpr int64_t kAlignment = 64;  // elements

  /// Where the next parameter may begin that is to be aligned.
  static int64_t aligned(int64_t place) {
    return (place + kAlignment - 1) / kAlignment * kAlignment;
  }
};

class TrainedParameters {
 public:
  /// All zeros.
  TrainedParameters(TrainedLayout layout, heddle::cuda::Context& context);
  TrainedParameters(const TrainedParameters&) = delete;
  TrainedParameters& operator=(const TrainedParameters&) = delete;

  const std::vector<ParameterShape>& shapes() const { return layout_.shapes; }
  int64_t count() const { return layout_.count; }
  int64_t matrices() const { return layout_.matrices; }
  int64_t bytes() const;  ///< on the GPU

  float* values() const { return values_.data<float>(); }
  float* gradients() const { return gradients_.data<float>(); }
  BFloat16* copies() const { return copies_.data<BFloat16>(); }

  // Of shape i.
  int64_t offset(int64_t i) const { return layout_.offsets[static_cast<size_t>(i)]; }
  float* value(int64_t i) const { return values() + offset(i); }
  float* gradient(int64_t i) const { return gradients() + offset(i); }
  BFloat16* copy(int64_t i) const { return copies() + offset(i); }

  void zero_gradients();
  void refresh_copies();  ///< after values were written

  /// From and to host tensors in the order of the shapes. The array is `values`, or another of this
  /// layout.
  void upload(std::span<const Tensor> from, float* array) const;
  void download(const float* array, std::span<Tensor> to) const;

 private:
  heddle::cuda::Context& context_;
  TrainedLayout layout_;
  Tensor values_, gradients_, copies_;
};

}  // namespace heddle::model::cuda
