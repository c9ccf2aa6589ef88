// All parameters of a model on a GPU: f32 masters, their f32 gradients, and bf16 copies, which
// products read. Each is one array; what one projection is made of lies next to each other in it,
// so that it is one matrix. A model that is not trained has no gradients, and of the masters those
// of the vectors alone.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "heddle/autograd/cuda/functions.h"
#include "heddle/model/weights.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

class DeviceParameters {
 public:
  enum class Use : uint8_t { training, inference };

  /// Places the parameters, takes their values over and zeros the gradients. `weights` says what
  /// belongs together and outlives this.
  DeviceParameters(const Weights& weights, std::span<const Tensor> values,
                   heddle::cuda::Context& context, Use use = Use::training);
  DeviceParameters(const DeviceParameters&) = delete;
  DeviceParameters& operator=(const DeviceParameters&) = delete;

  int64_t count() const { return copies_.elements(); }  ///< with the gaps, which stay 0
  int64_t matrices() const { return matrices_; }        ///< elements before the first vector

  float* values() const { return values_.data<float>(); }  ///< when trained
  float* gradients() const { return gradients_.data<float>(); }
  BFloat16* copies() const { return copies_.data<BFloat16>(); }

  bool is_trained() const { return gradients_.defined(); }
  int64_t bytes() const;  ///< on the GPU

  // Null for −1. Without training there are values of vectors alone, and no gradients.
  const float* value(ParameterNumber number) const;
  float* gradient(ParameterNumber number) const {
    return is_trained() ? at(gradients(), number) : nullptr;
  }
  const BFloat16* copy(ParameterNumber number) const { return at(copies(), number); }
  int64_t offset(ParameterNumber number) const { return offsets_[static_cast<size_t>(number)]; }

  /// One of the weights' projections.
  const autograd::cuda::Linear& linear(const Projection& projection) const {
    return linears_.at(&projection);
  }

  /// Rows of the output table, and elements of its bias, with those of zeros behind the last.
  static int64_t padded(int64_t vocabulary) { return (vocabulary + 63) / 64 * 64; }

  void zero_gradients();
  void refresh_copies();  ///< after values were written
  void refresh_scaled();  ///< … and copies too: those alone that are not equal to their values

  /// The copy of a matrix becomes what int8 would hold of its values.
  void round_copy(ParameterNumber number, const Shape& shape);

  /// From and to host tensors in the order of parameters_of. The array is `values`, or another of
  /// this layout.
  void upload(std::span<const Tensor> from, float* array) const;
  void download(const float* array, std::span<Tensor> to) const;

 private:
  class Placer;

  template <typename T>
  T* at(T* array, ParameterNumber number) const {
    return number < 0 ? nullptr : array + offsets_[static_cast<size_t>(number)];
  }

  void keep_vectors();

  struct Scaled {
    int64_t begin, count;
    float factor;
  };

  heddle::cuda::Context& context_;
  std::vector<int64_t> offsets_;  // by number
  int64_t matrices_ = 0;
  int64_t first_value_ = 0;  // place of values_[0]
  Tensor values_, gradients_, copies_;
  std::vector<Scaled> scaled_;
  std::unordered_map<const Projection*, autograd::cuda::Linear> linears_;
  std::vector<std::vector<autograd::cuda::ParameterRange>> ranges_;  // of the linears
};

}  // namespace heddle::model::cuda
