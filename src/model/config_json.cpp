#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/config.h"
#include "heddle/model/config_language.h"

namespace heddle::model {

namespace {

/// The words that stand for an enumeration in config.json; the first of a value is written.
template <typename T>
using Word = std::pair<std::string_view, T>;

constexpr std::array<Word<Norm>, 2> kNorms{
    {{"layer_norm", Norm::layer_norm}, {"rms_norm", Norm::rms_norm}}};

constexpr std::array<Word<ActivationKind>, 7> kActivations{
    {{"relu", ActivationKind::relu},
     {"gelu", ActivationKind::gelu},
     {"gelu_new", ActivationKind::gelu_tanh},
     {"gelu_pytorch_tanh", ActivationKind::gelu_tanh},
     {"quick_gelu", ActivationKind::quick_gelu},
     {"silu", ActivationKind::silu},
     {"swish", ActivationKind::silu}}};

constexpr std::array<Word<Positions>, 6> kPositions{
    {{"none", Positions::none},
     {"sinusoidal", Positions::sinusoidal},
     {"sinusoidal_marian", Positions::sinusoidal_marian},
     {"sinusoidal_interleaved", Positions::sinusoidal_interleaved},
     {"learned", Positions::learned},
     {"rotary", Positions::rotary}}};

constexpr std::array<Word<DecoderKind>, 2> kDecoders{
    {{"self_attention", DecoderKind::self_attention}, {"ssru", DecoderKind::ssru}}};

template <typename Words>
auto read_word(const io::Field& json, std::string_view key, const Words& words,
               std::string_view otherwise) {
  const std::string found = json.text_or(key, otherwise);
  std::string expected;
  for (const auto& [word, value] : words) {
    if (word == found) return value;
    expected += std::string(expected.empty() ? "" : ", ") + std::string(word);
  }
  json[key].fail("one of " + expected);
}

template <typename Words, typename T>
std::string word_of(const Words& words, T wanted) {
  for (const auto& [word, value] : words) {
    if (value == wanted) return std::string(word);
  }
  return {};
}

constexpr int64_t kLarge = int64_t{1} << 30;

int32_t read_token(const io::Field& json, std::string_view key, int32_t otherwise) {
  return static_cast<int32_t>(json.integer_or(key, otherwise, -1, kLarge));
}

/// Sequences of several tokens are left out: Marian models forbid none. The end cannot be
/// forbidden, and pad is never written anyway.
std::vector<int32_t> read_never_written(const io::Field& json, const TransformerConfig& config) {
  std::vector<int32_t> tokens;
  const auto sequences = json.find("bad_words_ids");
  if (!sequences) return tokens;
  for (const io::Field& sequence : sequences->items()) {
    const std::vector<io::Field> items = sequence.items();
    if (items.size() != 1) continue;
    const auto token = static_cast<int32_t>(items[0].integer(0, kLarge));
    if (token != config.eos && token != config.pad) tokens.push_back(token);
  }
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

io::Value bad_words(const TransformerConfig& config) {
  io::Value::List sequences;
  const auto add = [&](int32_t token) {
    sequences.push_back(io::Value::List{io::Value(int64_t{token})});
  };
  if (config.pad >= 0 && config.pad != config.eos) add(config.pad);
  for (const int32_t token : config.never_written) add(token);
  return sequences;
}

StackConfig read_stack(const io::Field& json, const std::string& side) {
  StackConfig stack{.layers = json[side + "_layers"].integer(1, kLarge),
                    .heads = json[side + "_attention_heads"].integer(1, kLarge),
                    .key_value_heads = json.integer_or(side + "_key_value_heads", 0, 0, kLarge),
                    .ffn_width = json[side + "_ffn_dim"].integer(1, kLarge)};
  if (stack.key_value_heads == stack.heads) stack.key_value_heads = 0;
  return stack;
}

Ties read_ties(const io::Field& json) {
  const bool sources = json.boolean_or("share_encoder_decoder_embeddings", true);
  const bool outputs = json.boolean_or("tie_word_embeddings", true);
  if (sources) return outputs ? Ties::all : Ties::source_target;
  return outputs ? Ties::target_output : Ties::none;
}

void read_placement(const io::Field& json, TransformerConfig& config) {
  const bool before = json.boolean_or("normalize_before", false);
  config.preprocess = json.text_or("preprocess", before ? "n" : "");
  config.postprocess = json.text_or("postprocess", before ? "da" : "dan");
  config.postprocess_embedding = json.text_or(
      "postprocess_embedding", json.boolean_or("normalize_embedding", false) ? "dn" : "d");
  config.postprocess_top =
      json.text_or("postprocess_top", json.boolean_or("add_final_layer_norm", false) ? "n" : "");
}

void write_stack(io::Value& json, const std::string& side, const StackConfig& stack,
                 int64_t key_value_heads) {
  json.set(side + "_layers", stack.layers);
  json.set(side + "_attention_heads", stack.heads);
  json.set(side + "_key_value_heads", key_value_heads);
  json.set(side + "_ffn_dim", stack.ffn_width);
}

void write_placement(io::Value& json, const TransformerConfig& config) {
  json.set("normalize_before", config.normalizes_before());
  json.set("normalize_embedding", config.normalizes_embedding());
  json.set("add_final_layer_norm", config.normalizes_top());
  json.set("preprocess", config.preprocess);
  json.set("postprocess", config.postprocess);
  json.set("postprocess_embedding", config.postprocess_embedding);
  json.set("postprocess_top", config.postprocess_top);
}

/// Whether Hugging Face's MarianMT computes the same from the fields that it knows.
bool is_marian_mt(const TransformerConfig& config) {
  const bool placement = !config.normalizes_before() && config.postprocess.ends_with("an") &&
                         !config.normalizes_embedding() &&
                         config.postprocess_top.find_first_not_of('d') == std::string::npos;
  const bool parts = config.norm == Norm::layer_norm && config.norm_bias && !config.gated &&
                     config.attention_bias && config.ffn_bias && config.output_bias &&
                     std::abs(config.norm_epsilon - 1e-5) < 1e-9;
  const bool attention = config.decoder_kind == DecoderKind::self_attention &&
                         config.encoder_key_value_heads() == config.encoder.heads &&
                         config.decoder_key_value_heads() == config.decoder.heads &&
                         config.encoder_head_width() * config.encoder.heads == config.width &&
                         config.decoder_head_width() * config.decoder.heads == config.width;
  return placement && parts && attention && config.positions == Positions::sinusoidal &&
         config.decoder_start >= 0;
}

}  // namespace

TransformerConfig read_config(const io::Field& json) {
  const std::string type = json.text_or("model_type", "heddle");
  if (is_language_type(type)) return read_language_config(json);
  if (type != "marian" && type != "heddle") {
    json["model_type"].fail(str("marian, heddle, ", language_types()));
  }

  TransformerConfig config;
  config.width = json["d_model"].integer(1, kLarge);
  config.head_width = json.integer_or("head_dim", 0, 0, kLarge);
  config.source_vocabulary = json["vocab_size"].integer(1, kLarge);
  config.target_vocabulary =
      json.integer_or("decoder_vocab_size", config.source_vocabulary, 1, kLarge);
  config.encoder = read_stack(json, "encoder");
  config.decoder = read_stack(json, "decoder");
  config.decoder_kind = read_word(json, "decoder_type", kDecoders, "self_attention");
  read_placement(json, config);

  config.norm = read_word(json, "norm_type", kNorms, "layer_norm");
  config.norm_epsilon = json.number_or("layer_norm_eps", 1e-5);
  config.norm_bias = json.boolean_or("norm_bias", config.norm == Norm::layer_norm);
  config.activation = read_word(json, "activation_function", kActivations, "gelu");
  config.gated = json.boolean_or("gated_ffn", false);
  config.attention_bias = json.boolean_or("attention_bias", true);
  config.ffn_bias = json.boolean_or("mlp_bias", true);
  config.output_bias = json.boolean_or("output_bias", true);

  config.ties = read_ties(json);
  config.scale_embedding = json.boolean_or("scale_embedding", false);
  const bool fixed = json.boolean_or("static_position_embeddings", true);
  config.positions =
      read_word(json, "position_embedding_type", kPositions, fixed ? "sinusoidal" : "learned");
  config.position_offset = json.integer_or("position_offset", 0, 0, kLarge);
  config.rotary.base = json.number_or("rope_theta", 10000);
  config.max_positions = json.integer_or("max_position_embeddings", 0, 0, kLarge);

  config.eos = read_token(json, "eos_token_id", 0);
  config.pad = read_token(json, "pad_token_id", -1);
  config.unk = read_token(json, "unk_token_id", 1);
  config.decoder_start = read_token(json, "decoder_start_token_id", config.pad);
  config.ends_source = json.boolean_or("source_eos", true);
  config.never_written = read_never_written(json, config);
  config.alignment_layer = read_token(json, "alignment_layer", -1);
  config.alignment_head = read_token(json, "alignment_head", 0);
  config.check();
  return config;
}

io::Value to_json(const TransformerConfig& config) {
  if (config.is_language_model()) return language_to_json(config);
  const bool marian = is_marian_mt(config);
  io::Value json;
  json.set("model_type", marian ? "marian" : "heddle");
  if (marian) json.set("architectures", io::Value::List{io::Value("MarianMTModel")});
  json.set("is_encoder_decoder", true);
  json.set("d_model", config.width);
  if (config.head_width != 0) json.set("head_dim", config.head_width);
  json.set("vocab_size", config.source_vocabulary);
  json.set("decoder_vocab_size", config.target_vocabulary);
  write_stack(json, "encoder", config.encoder, config.encoder_key_value_heads());
  write_stack(json, "decoder", config.decoder, config.decoder_key_value_heads());
  json.set("decoder_type", word_of(kDecoders, config.decoder_kind));
  write_placement(json, config);

  json.set("norm_type", word_of(kNorms, config.norm));
  json.set("layer_norm_eps", config.norm_epsilon);
  json.set("norm_bias", config.norm_bias);
  json.set("activation_function", word_of(kActivations, config.activation));
  json.set("gated_ffn", config.gated);
  json.set("attention_bias", config.attention_bias);
  json.set("mlp_bias", config.ffn_bias);
  json.set("output_bias", config.output_bias);

  const bool sources = config.ties == Ties::all || config.ties == Ties::source_target;
  const bool outputs = config.ties == Ties::all || config.ties == Ties::target_output;
  json.set("share_encoder_decoder_embeddings", sources);
  json.set("tie_word_embeddings", outputs);
  json.set("scale_embedding", config.scale_embedding);
  json.set("static_position_embeddings", config.positions != Positions::learned);
  json.set("position_embedding_type", word_of(kPositions, config.positions));
  json.set("position_offset", config.position_offset);
  json.set("rope_theta", config.rotary.base);
  json.set("max_position_embeddings", config.max_positions);

  json.set("eos_token_id", int64_t{config.eos});
  json.set("pad_token_id", int64_t{config.pad});
  json.set("unk_token_id", int64_t{config.unk});
  json.set("decoder_start_token_id", int64_t{config.decoder_start});
  json.set("source_eos", config.ends_source);
  io::Value forbidden = bad_words(config);
  if (!forbidden.list()->empty()) json.set("bad_words_ids", std::move(forbidden));
  json.set("alignment_layer", config.alignment_layer);
  json.set("alignment_head", config.alignment_head);
  return json;
}

}  // namespace heddle::model
