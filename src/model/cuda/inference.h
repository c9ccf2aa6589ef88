// A translation Transformer on a GPU that is not trained: weights in bf16 or f16, f32 vectors,
// read-only.
#pragma once

#include <cstdint>
#include <vector>

#include "heddle/model/cuda/parameters.h"
#include "heddle/model/parameters.h"
#include "heddle/model/weights.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

class InferenceTransformer {
 public:
  /// Throws with a hint where the model does not fit the kernels (model_files.h).
  InferenceTransformer(const ModelFiles& files, int device, Half half = Half::bf16);

  const TransformerConfig& config() const { return weights_.config; }
  const Weights& weights() const { return weights_; }
  const DeviceParameters& parameters() const { return parameters_; }
  Half half() const { return half_; }  ///< of weights and rows
  int device() const { return context_.device().index; }

  /// Of the output projection [V], on the host; a model without has zeros.
  const std::vector<float>& output_bias() const { return output_bias_; }
  int64_t bytes() const { return parameters_.bytes(); }  ///< on the GPU

 private:
  heddle::cuda::Context context_;
  Half half_;
  Weights weights_;
  DeviceParameters parameters_;
  std::vector<float> output_bias_;
};

}  // namespace heddle::model::cuda
