#include <cmath>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/model/parameter_names.h"
#include "heddle/model/training.h"

namespace heddle::model {

namespace {

bool is_table(const std::string& name) {
  for (const char* each : {"shared.weight", "embed_tokens.weight", "embed_positions.weight"}) {
    if (name.ends_with(each)) return true;
  }
  return name == "lm_head.weight";
}

}  // namespace

ModelFiles random_model(const TransformerConfig& config, uint64_t seed) {
  config.check();
  ModelFiles files;
  files.config = config;
  uint64_t stream = 0;
  for (const ParameterShape& each : parameters_of(config)) {
    Random random(seed, stream++);
    Tensor values = Tensor::zeros(each.shape, DType::f32);
    float* to = values.data<float>();
    const int64_t count = values.elements();
    if (is_table(each.name)) {
      const double deviation = 1 / std::sqrt(static_cast<double>(config.width));
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(deviation * random.normal());
    } else if (each.shape.rank() == 2) {
      const double limit = std::sqrt(6.0 / static_cast<double>(each.shape[0] + each.shape[1]));
      for (int64_t i = 0; i < count; ++i) {
        to[i] = static_cast<float>(limit * (2 * random.uniform() - 1));
      }
    } else if (each.name.ends_with(".weight")) {  // of a norm
      for (int64_t i = 0; i < count; ++i) to[i] = 1;
    }
    files.parameters.add(each.name, {.values = values});
  }
  return files;
}

ModelFiles with_score(ModelFiles language_model, uint64_t seed) {
  TransformerConfig& config = language_model.config;
  HEDDLE_CHECK(config.is_language_model() && !config.scores,
               "reward model: found an encoder–decoder, or a score already; expected a language "
               "model");
  const ParameterNames names(config);
  const std::string output = names.output();
  if (output != names.table(Side::decoder)) language_model.parameters.remove(output);
  config.scores = true;
  if ((config.pad < 0 || config.pad == config.eos) && config.decoder_start >= 0) {
    config.pad = config.decoder_start;
  }
  constexpr double kDeviation = 0.02;  // initializer_range of transformers
  Tensor score = Tensor::zeros({1, config.width}, DType::f32);
  Random random(seed, uint64_t{1} << 32);
  for (int64_t i = 0; i < config.width; ++i) {
    score.data<float>()[i] = static_cast<float>(kDeviation * random.normal());
  }
  language_model.parameters.add(names.output(), {.values = score});
  return language_model;
}

}  // namespace heddle::model
