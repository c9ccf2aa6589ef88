// All parameters of a model on a GPU. What one projection is made of lies next to each other, so
// that it is one matrix. Those that are trained have f32 masters, gradients and bf16 copies; of the
// others, which are frozen, matrices are bf16 or f16 alone, and vectors f32 and that.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "heddle/autograd/cuda/functions.h"
#include "heddle/model/cuda/trained_parameters.h"
#include "heddle/model/weights.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

/// Calls visit with each projection of the layers, empty ones too.
void each_projection(const Weights& weights, const std::function<void(const Projection&)>& visit);

class DeviceParameters {
 public:
  enum class Use : uint8_t { training, frozen };

  /// Places the parameters and takes their values over. `weights` says what belongs together and
  /// outlives this; `half` is for frozen ones. Those that `apart` has, by name, are trained there:
  /// they have its values and gradients, and products here read copies of its values.
  DeviceParameters(const Weights& weights, const ModelFiles& files, heddle::cuda::Context& context,
                   Use use = Use::training, const TrainedParameters* apart = nullptr,
                   Half half = Half::bf16);
  DeviceParameters(const DeviceParameters&) = delete;
  DeviceParameters& operator=(const DeviceParameters&) = delete;

  bool is_trained() const { return trained_ != nullptr; }        ///< all of them
  TrainedParameters* trained() const { return trained_.get(); }  ///< or null
  int64_t bytes() const;  ///< on the GPU, without what is apart

  // Null for −1, and where there is none. Of frozen parameters there are values of vectors alone,
  // and no gradients.
  const float* value(ParameterNumber number) const;
  float* gradient(ParameterNumber number) const;
  const BFloat16* copy(ParameterNumber number) const {
    return number < 0 ? nullptr : copies_ + offset(number);
  }

  /// One of the weights' projections.
  const autograd::cuda::Linear& linear(const Projection& projection) const {
    return linears_.at(&projection);
  }

  /// Rows of the output table, and elements of its bias, with those of zeros behind the last.
  static int64_t padded(int64_t vocabulary) { return (vocabulary + 63) / 64 * 64; }

  /// After values of what is trained were written, and copies beside them: those copies that are
  /// not equal to their values, or lie here.
  void refresh_others();

  /// The copies of matrices become what int8 would hold of their values (ops/int8_rows.h), until
  /// they are written again.
  void round_copies();

 private:
  class Placer;

  int64_t offset(ParameterNumber number) const {
    return layout_.offsets[static_cast<size_t>(number)];
  }
  int32_t place_apart(ParameterNumber number) const {
    return apart_ == nullptr ? -1 : apart_places_[static_cast<size_t>(number)];
  }

  void load_trained(const ModelFiles& files);
  void load_frozen(const ModelFiles& files, const Placer& placer);
  void find_apart(const TrainedParameters& apart, const Placer& placer);
  void make_linear(const Projection& projection, const Placer& placer);

  struct Other {  // to = factor · from
    const float* from;
    int64_t count;
    float factor;
    BFloat16* to;
  };

  heddle::cuda::Context& context_;
  const Half half_;  // of the copies
  TrainedLayout layout_;
  std::unique_ptr<TrainedParameters> trained_;
  const TrainedParameters* apart_ = nullptr;
  std::vector<int32_t> apart_places_;      // of our numbers among those apart, or −1
  Tensor frozen_copies_, frozen_vectors_;  // the latter from layout_.matrices on
  BFloat16* copies_ = nullptr;
  std::vector<Other> others_;
  std::unordered_map<const Projection*, autograd::cuda::Linear> linears_;
  std::vector<std::vector<autograd::cuda::ParameterRange>> ranges_;  // of the linears
};

}  // namespace heddle::model::cuda
