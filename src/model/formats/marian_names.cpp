#include "heddle/model/formats/marian_names.h"

#include "heddle/base/error.h"

namespace heddle::model {

namespace {

/// Collects the names of one model.
class Names {
 public:
  explicit Names(const TransformerConfig& config) : config_(config) {}

  std::vector<MarianName> collect() {
    embeddings();
    stack("encoder", config_.encoder.layers);
    stack("decoder", config_.decoder.layers);
    return std::move(names_);
  }

 private:
  void add(std::string marian, std::string canonical, MarianKind kind) {
    names_.push_back({std::move(marian), std::move(canonical), kind});
  }

  /// "Wq" with "bq" and the like.
  void affine(const std::string& prefix, const std::string& suffix, const std::string& canonical) {
    add(prefix + "W" + suffix, canonical + ".weight", MarianKind::matrix);
    add(prefix + "b" + suffix, canonical + ".bias", MarianKind::vector);
  }

  void norm(const std::string& prefix, const std::string& suffix, const std::string& canonical) {
    add(prefix + "_ln_scale" + suffix, canonical + ".weight", MarianKind::vector);
    add(prefix + "_ln_bias" + suffix, canonical + ".bias", MarianKind::vector);
  }

  /// The norms around a sublayer; `before` and `after` are Marian's prefixes for the two places.
  void norms(const std::string& before, const std::string& after, const std::string& canonical) {
    const bool both = config_.normalizes_before() && config_.normalizes_after();
    if (config_.normalizes_before()) norm(before, "_pre", canonical + (both ? "_pre" : ""));
    if (config_.normalizes_after()) norm(after, "", canonical);
  }

  void attention(const std::string& prefix, const std::string& canonical) {
    affine(prefix + "_", "q", canonical + ".q_proj");
    affine(prefix + "_", "k", canonical + ".k_proj");
    affine(prefix + "_", "v", canonical + ".v_proj");
    affine(prefix + "_", "o", canonical + ".out_proj");
    norms(prefix + "_Wo", prefix + "_Wo", canonical + "_layer_norm");
  }

  void ssru(const std::string& prefix, const std::string& layer) {
    add(prefix + "_W", layer + ".ssru.input_proj.weight", MarianKind::matrix);
    add(prefix + "_Wf", layer + ".ssru.forget_proj.weight", MarianKind::matrix);
    add(prefix + "_bf", layer + ".ssru.forget_proj.bias", MarianKind::vector);
    norms(prefix, prefix + "_ffn", layer + ".self_attn_layer_norm");
  }

  void stack(const std::string& side, int64_t layers) {
    const bool decoder = side == "decoder";
    if (config_.normalizes_embedding()) {
      norm(side + "_emb", "_pre", str("model.", side, ".layernorm_embedding"));
    }
    for (int64_t i = 0; i < layers; ++i) {
      const std::string prefix = str(side, "_l", i + 1);
      const std::string layer = str("model.", side, ".layers.", i);
      if (decoder && config_.decoder_kind == DecoderKind::ssru) {
        ssru(prefix + "_rnn", layer);
      } else {
        attention(prefix + "_self", layer + ".self_attn");
      }
      if (decoder) attention(prefix + "_context", layer + ".encoder_attn");
      affine(prefix + "_ffn_", "1", layer + ".fc1");
      affine(prefix + "_ffn_", "2", layer + ".fc2");
      norms(prefix + "_ffn_ffn", prefix + "_ffn_ffn", layer + ".final_layer_norm");
    }
    if (config_.normalizes_top()) norm(side + "_top", "", str("model.", side, ".layer_norm"));
  }

  void embeddings() {
    const bool shared = config_.ties == Ties::all || config_.ties == Ties::source_target;
    if (shared) {
      add("Wemb", "model.shared.weight", MarianKind::table);
    } else {
      add("encoder_Wemb", "model.encoder.embed_tokens.weight", MarianKind::table);
      add("decoder_Wemb", "model.decoder.embed_tokens.weight", MarianKind::table);
    }
    if (config_.ties == Ties::none || config_.ties == Ties::source_target) {
      add("decoder_ff_logit_out_W", "lm_head.weight", MarianKind::matrix);
    }
    if (config_.output_bias) {
      add("decoder_ff_logit_out_b", "final_logits_bias", MarianKind::vector);
    }
    if (config_.positions == Positions::learned) {
      add("Wpos", "model.encoder.embed_positions.weight", MarianKind::table);
      add("Wpos", "model.decoder.embed_positions.weight", MarianKind::table);
    }
  }

  const TransformerConfig& config_;
  std::vector<MarianName> names_;
};

}  // namespace

std::vector<MarianName> marian_names(const TransformerConfig& config) {
  return Names(config).collect();
}

}  // namespace heddle::model
