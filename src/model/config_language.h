// The config.json of Hugging Face's language models, one model_type a family:
//
//   llama        Llama 2 and 3, and what computes alike
//   mistral      the same, where all layers may have a window
//   qwen2        Qwen 2 and 2.5: biases of q, k and v
//   qwen3        norms of the heads of q and k
//   gemma3_text  those, norms on both sides of a sublayer, five layers with a window to one without
//
// Both spellings of the rotary positions are read: rope_theta, rope_scaling and
// rope_local_base_freq, and the rope_parameters of transformers 5.
#pragma once

#include <string_view>

#include "heddle/io/value.h"
#include "heddle/model/config.h"

namespace heddle::model {

bool is_language_type(std::string_view model_type);

/// The families, for errors: "llama, mistral, …".
std::string_view language_types();

/// Reads and checks the content of a config.json of one of these model types. Refuses by name what
/// its family knows and the layers do not: soft-capped logits, dynamic rotary scalings, ….
TransformerConfig read_language_config(const io::Field& json);

/// The content of the config.json of the first family that computes the same; throws where none
/// does.
io::Value language_to_json(const TransformerConfig& config);

/// Whether config.json's family stores weights of norms as what they are more than 1.
bool stores_norms_less_one(const TransformerConfig& config);

}  // namespace heddle::model
