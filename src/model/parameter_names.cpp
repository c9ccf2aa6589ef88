#include "heddle/model/parameter_names.h"

#include "heddle/base/error.h"

namespace heddle::model {

std::string ParameterNames::table(Side side) const {
  if (config_.is_language_model()) return "model.embed_tokens.weight";
  if (config_.ties == Ties::all || config_.ties == Ties::source_target) {
    return "model.shared.weight";
  }
  return stack(side) + ".embed_tokens.weight";
}

std::string ParameterNames::output() const {
  if (config_.scores) return "score.weight";
  const bool tied = config_.ties == Ties::all || config_.ties == Ties::target_output;
  return tied ? table(Side::decoder) : "lm_head.weight";
}

std::string ParameterNames::stack(Side side) const {
  if (config_.is_language_model()) return "model";
  return side == Side::encoder ? "model.encoder" : "model.decoder";
}

std::string ParameterNames::layer(Side side, int64_t number) const {
  return str(stack(side), ".layers.", number);
}

std::string ParameterNames::top_norm(Side side) const {
  return config_.is_language_model() ? "model.norm" : stack(side) + ".layer_norm";
}

NormNames ParameterNames::around(const std::string& norm) const {
  const bool before = config_.normalizes_before(), after = config_.normalizes_after();
  return {.before = !before ? "" : after ? norm + "_pre" : norm, .after = after ? norm : ""};
}

AttentionNames ParameterNames::attention(const std::string& name) const {
  return {.queries = name + ".q_proj",
          .keys = name + ".k_proj",
          .values = name + ".v_proj",
          .out = name + ".out_proj",
          .query_norm = {},
          .key_norm = {},
          .norms = around(name + "_layer_norm")};
}

AttentionNames ParameterNames::self_attention(const std::string& layer) const {
  AttentionNames names = attention(layer + ".self_attn");
  if (!config_.is_language_model()) return names;
  names.out = layer + ".self_attn.o_proj";
  if (config_.head_norms) {
    names.query_norm = layer + ".self_attn.q_norm";
    names.key_norm = layer + ".self_attn.k_norm";
  }
  const bool after = config_.normalizes_after();
  names.norms = {.before = layer + ".input_layernorm",
                 .after = after ? layer + ".post_attention_layernorm" : ""};
  return names;
}

AttentionNames ParameterNames::cross_attention(const std::string& layer) const {
  return attention(layer + ".encoder_attn");
}

NormNames ParameterNames::ssru_norms(const std::string& layer) const {
  return around(layer + ".self_attn_layer_norm");
}

FeedForwardNames ParameterNames::feed_forward(const std::string& layer) const {
  if (!config_.is_language_model()) {
    return {.gate = config_.gated ? layer + ".fc_gate" : "",
            .in = layer + ".fc1",
            .out = layer + ".fc2",
            .norms = around(layer + ".final_layer_norm")};
  }
  // Llama calls the norm before the second sublayer as Gemma does the one behind the first.
  const bool after = config_.normalizes_after();
  return {.gate = layer + ".mlp.gate_proj",
          .in = layer + ".mlp.up_proj",
          .out = layer + ".mlp.down_proj",
          .norms = {.before = layer +
                              (after ? ".pre_feedforward_layernorm" : ".post_attention_layernorm"),
                    .after = after ? layer + ".post_feedforward_layernorm" : ""}};
}

}  // namespace heddle::model
