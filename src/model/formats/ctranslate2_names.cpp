#include "heddle/model/formats/ctranslate2_names.h"

#include "heddle/base/error.h"

namespace heddle::model {

namespace {

using Layers = std::vector<Ctranslate2Layer>;

void add_self_attention(Layers& layers, const std::string& scope, const std::string& name) {
  layers.push_back(
      {scope + "/linear_0",
       {name + ".self_attn.q_proj", name + ".self_attn.k_proj", name + ".self_attn.v_proj"}});
  layers.push_back({scope + "/linear_1", {name + ".self_attn.out_proj"}});
  layers.push_back({scope + "/layer_norm", {name + ".self_attn_layer_norm"}, true});
}

void add_cross_attention(Layers& layers, const std::string& scope, const std::string& name) {
  layers.push_back({scope + "/linear_0", {name + ".encoder_attn.q_proj"}});
  layers.push_back(
      {scope + "/linear_1", {name + ".encoder_attn.k_proj", name + ".encoder_attn.v_proj"}});
  layers.push_back({scope + "/linear_2", {name + ".encoder_attn.out_proj"}});
  layers.push_back({scope + "/layer_norm", {name + ".encoder_attn_layer_norm"}, true});
}

// Of a gated network, CTranslate2's linear_0 is the gate: it has the activation.
void add_ffn(Layers& layers, const std::string& scope, const std::string& name, bool gated) {
  layers.push_back({scope + "/linear_0", {name + (gated ? ".fc_gate" : ".fc1")}});
  if (gated) layers.push_back({scope + "/linear_0_noact", {name + ".fc1"}});
  layers.push_back({scope + "/linear_1", {name + ".fc2"}});
  layers.push_back({scope + "/layer_norm", {name + ".final_layer_norm"}, true});
}

}  // namespace

std::vector<Ctranslate2Layer> ctranslate2_layers(const TransformerConfig& config) {
  Layers layers;
  for (const std::string side : {"encoder", "decoder"}) {
    const bool decoder = side == "decoder";
    const int64_t count = decoder ? config.decoder.layers : config.encoder.layers;
    for (int64_t i = 0; i < count; ++i) {
      const std::string scope = str(side, "/layer_", i);
      const std::string name = str("model.", side, ".layers.", i);
      add_self_attention(layers, scope + "/self_attention", name);
      if (decoder) add_cross_attention(layers, scope + "/attention", name);
      add_ffn(layers, scope + "/ffn", name, config.gated);
    }
    if (config.normalizes_embedding()) {
      layers.push_back(
          {side + "/layernorm_embedding", {str("model.", side, ".layernorm_embedding")}, true});
    }
    if (config.normalizes_top()) {
      layers.push_back({side + "/layer_norm", {str("model.", side, ".layer_norm")}, true});
    }
  }
  return layers;
}

}  // namespace heddle::model
