// Adapters: what is trained of a language model in place of its weights.
//
//   LoRA (Hu et al. 2021, arXiv:2106.09685)     y = W x + b + s · B (A x),   s = α / r
//   rsLoRA (Kalajdzievski 2023)                 s = α / √r
//   DoRA (Liu et al. 2024, arXiv:2402.09353)    y = m / ‖W + s·B A‖ ∘ (W + s·B A) x + b, the norm,
//                                               of each row, taken for a constant on the way back
//
// with A [r, K], B [N, r], m [N]. Dropout drops of the x that A reads. Some modules may be trained
// as a whole beside that. Names and settings are those of PEFT.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/model/parameters.h"

namespace heddle::model {

struct LoraSettings {
  int64_t rank = 8;    ///< r
  double alpha = 16;   ///< lora_alpha
  double dropout = 0;  ///< lora_dropout
  bool use_rslora = false;
  bool use_dora = false;
  std::vector<std::string> targets{"all-linear"};  ///< target_modules; none: nothing is changed
  std::vector<std::string> saved{};                ///< trained as a whole: modules_to_save

  double scale() const;  ///< s
};

/// A, B and m by the names MODULE.lora_A.weight, MODULE.lora_B.weight,
/// MODULE.lora_magnitude_vector, and the own values of modules that are trained as a whole, all
/// f32.
struct Adapter {
  LoraSettings settings;
  std::string base;  ///< path or name of the model that it belongs to
  Parameters parameters;
};

/// The projections that are changed: "model.layers.0.self_attn.q_proj", … in the model's order.
/// Throws for targets that the model has not.
std::vector<std::string> adapted_modules(const TransformerConfig& config,
                                         const LoraSettings& settings);

/// The base's parameters that are trained as a whole; a tied embedding is one.
std::vector<std::string> saved_parameters(const TransformerConfig& config,
                                          const LoraSettings& settings);

/// Those of the adapted modules, in a fixed order.
std::vector<ParameterShape> lora_parameters(const TransformerConfig& config,
                                            const LoraSettings& settings);

/// As PEFT begins: A uniform within ±1 / √K, B zero, m the lengths of W's rows, saved modules as
/// they are. It changes nothing yet.
Adapter new_adapter(const ModelFiles& base, const LoraSettings& settings, uint64_t seed);

/// Throws unless exactly the adapter's parameters are there, in their shapes.
void check_adapter(const TransformerConfig& config, const Adapter& adapter);

/// The base with the adapter in its weights, in f32 where it changed something.
ModelFiles merged(ModelFiles base, const Adapter& adapter);

/// W + s·B A [N, K] of one module.
Tensor changed_weight(const Tensor& weight, const Tensor& a, const Tensor& b, double scale);

/// ‖row‖ of a matrix [N, K], as [N].
Tensor row_lengths(const Tensor& matrix);

}  // namespace heddle::model
