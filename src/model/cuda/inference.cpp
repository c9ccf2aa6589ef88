#include "heddle/model/cuda/inference.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/cuda/model_files.h"

namespace heddle::model::cuda {

namespace {

ModelFiles files_that_fit(const ModelFiles& files) {
  HEDDLE_CHECK(!files.config.is_language_model(),
               "translating on a GPU: found a language model; expected an encoder–decoder. "
               "Hint: --device cpu");
  check_fits(files.config, "translating", "--device cpu");
  return single_precision(files);
}

std::vector<float> output_bias_of(const Weights& weights) {
  std::vector<float> bias(static_cast<size_t>(weights.config.target_vocabulary), 0.0f);
  std::ranges::copy(weights.output_bias, bias.begin());
  return bias;
}

}  // namespace

InferenceTransformer::InferenceTransformer(const ModelFiles& files, int device)
    : InferenceTransformer(files_that_fit(files), device, {}) {}

InferenceTransformer::InferenceTransformer(const ModelFiles& files, int device,
                                           std::vector<float> output_bias)
    : context_(device),
      weights_(files, ops::Precision::f32),
      parameters_(weights_, files, context_, DeviceParameters::Use::frozen),
      output_bias_(std::move(output_bias)) {
  output_bias_ = output_bias_of(weights_);
  context_.synchronize();
}

}  // namespace heddle::model::cuda
