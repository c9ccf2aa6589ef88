// An adapter on a GPU (../lora.h): what it trains, and the products that it adds to those of the
// base, of which a frozen bf16 copy is all there is.
#pragma once

#include <unordered_map>
#include <vector>

#include "heddle/autograd/cuda/functions.h"
#include "heddle/model/cuda/parameters.h"
#include "heddle/model/cuda/trained_parameters.h"
#include "heddle/model/weights.h"

namespace heddle::model::cuda {

/// Places of all that an adapter trains: of the base's parameters those that are saved as a whole,
/// then those of lora_parameters. The matrices A of one projection lie next to each other and are
/// one matrix [C · r, K]. `weights` has the adapter attached.
TrainedLayout adapter_layout(const Weights& weights, const LoraSettings& settings);

class AdapterParameters {
 public:
  /// Takes the adapter's values over; `weights`, which has it attached, outlives this.
  AdapterParameters(const Weights& weights, const Adapter& adapter, heddle::cuda::Context& context);
  AdapterParameters(const AdapterParameters&) = delete;
  AdapterParameters& operator=(const AdapterParameters&) = delete;

  /// Makes the products beside those of the base, which outlives this.
  void join(const Weights& weights, const DeviceParameters& base);

  /// After values and copies of what is trained were written: DoRA's gains.
  void refresh_gains(autograd::cuda::Machine& machine);

  TrainedParameters& trained() { return trained_; }
  const TrainedParameters& trained() const { return trained_; }

  /// Of a projection's part that has one.
  const autograd::cuda::LowRankProducts& products(const Projection::Part& part) const {
    return products_.at(&part);
  }

 private:
  void make_products(const Projection::Part& part, const DeviceParameters& base);
  autograd::cuda::LowRankProducts::Up up_of(const LowRank::Change& change,
                                            const DeviceParameters& base);
  int64_t place(
      ParameterNumber number) const;  ///< of one of the adapter's own among what is trained

  /// One of DoRA's changes, W + scale · B A.
  struct Gain {
    const BFloat16 *weight, *a, *b;
    int64_t rows, columns, rank;  // N, K, r
    float scale;
    const float* magnitude;
    float *gain, *inverse_length;
  };

  TrainedParameters trained_;
  Tensor factors_;  // f32 [2, gains of all changes]
  int64_t factors_used_ = 0;
  std::vector<Gain> gains_;
  int64_t base_ = 0, saved_ = 0;  // numbers of the base, and how many of them are trained
  std::unordered_map<const Projection::Part*, autograd::cuda::LowRankProducts> products_;
  std::vector<std::vector<autograd::cuda::ParameterRange>> downs_;
  std::vector<std::vector<autograd::cuda::LowRankProducts::Up>> ups_;
};

}  // namespace heddle::model::cuda
