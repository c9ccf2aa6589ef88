// Where the weights of CTranslate2's TransformerSpec lie, beside the canonical names.
#pragma once

#include <string>
#include <vector>

#include "heddle/model/config.h"

namespace heddle::model {

/// A linear layer or embedding ("weight", "bias") or a norm ("gamma", "beta") of CTranslate2, and
/// the parameters of ours that it holds, one below the other: query, key and value are one there.
struct Ctranslate2Layer {
  std::string name;                    ///< "encoder/layer_0/self_attention/linear_0"
  std::vector<std::string> canonical;  ///< "model.encoder.layers.0.self_attn.q_proj", …
  bool is_norm = false;
};

/// Every layer of the encoder and decoder stacks; embeddings, projection and positions are apart.
std::vector<Ctranslate2Layer> ctranslate2_layers(const TransformerConfig& config);

}  // namespace heddle::model
