#include "heddle/model/cuda/inference.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/model/cuda/model_files.h"

namespace heddle::model::cuda {

namespace {

const ModelFiles& checked(const ModelFiles& files) {
  HEDDLE_CHECK(!files.config.is_language_model(),
               "translating on a GPU: found a language model; expected an encoder–decoder. "
               "Hint: --device cpu");
  check_fits(files.config, "translating", "--device cpu");
  return files;
}

std::vector<float> output_bias_of(const Weights& weights) {
  std::vector<float> bias(static_cast<size_t>(weights.config.target_vocabulary), 0.0f);
  std::ranges::copy(weights.output_bias, bias.begin());
  return bias;
}

}  // namespace

InferenceTransformer::InferenceTransformer(const ModelFiles& files, int device, Half half)
    : context_(device),
      half_(half),
      weights_(checked(files), ops::Precision::f32, Weights::Matrices::shapes),
      parameters_(weights_, files, context_, DeviceParameters::Use::frozen, nullptr, half),
      output_bias_(output_bias_of(weights_)) {
  context_.synchronize();
}

}  // namespace heddle::model::cuda
