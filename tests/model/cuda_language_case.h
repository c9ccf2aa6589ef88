// Language models wide enough for a GPU, and adapters of them that change something.
#pragma once

#include <string>

#include "heddle/base/random.h"
#include "heddle/model/lora.h"
#include "tests/model/language_models.h"
#include "tests/model/random_model.h"

namespace heddle::model {

/// Of bf16 activations and gradients, 8 bits each, through all layers.
inline constexpr double kLanguageShare = 0.04;

/// A family's model of tests/golden, made wide enough for bf16 to say something.
inline TransformerConfig widened_language(const std::string& name, int64_t head_width = 0) {
  TransformerConfig config = load_model(language_folder(name)).config;
  config.width = 128;
  config.decoder.ffn_width = 192;
  config.head_width = head_width != 0 ? head_width : 32;
  // Scores as large as they were: a softmax that is a choice would turn over by rounding.
  if (config.query_scalar != 0) config.query_scalar = 0.75 * static_cast<double>(config.head_width);
  config.source_vocabulary = config.target_vocabulary = 1003;  // no multiple of 64
  config.max_positions = 0;
  return config;
}

inline Adapter random_adapter(const ModelFiles& base, const LoraSettings& settings) {
  Adapter adapter = new_adapter(base, settings, 3);
  Random random(8);
  for (const ParameterShape& each : lora_parameters(base.config, settings)) {
    const bool is_magnitude = each.name.ends_with("lora_magnitude_vector");
    if (!is_magnitude && !each.name.ends_with("lora_B.weight")) continue;
    float* values = adapter.parameters.find(each.name)->values.data<float>();
    for (int64_t i = 0; i < each.shape.elements(); ++i) {
      const double drawn = random.normal();
      values[i] = static_cast<float>(is_magnitude ? values[i] * (1.2 + 0.1 * drawn) : 0.05 * drawn);
    }
  }
  return adapter;
}

}  // namespace heddle::model
