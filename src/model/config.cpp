#include "heddle/model/config.h"

#include <cmath>
#include <initializer_list>
#include <limits>

#include "heddle/base/error.h"

namespace heddle::model {

namespace {

constexpr int64_t kMaxWidth = 65536;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxVocabulary = int64_t{1} << 26;
constexpr int64_t kMaxPositions = int64_t{1} << 24;

void check_range(const char* field, int64_t value, int64_t low, int64_t high) {
  HEDDLE_CHECK(value >= low && value <= high, "config: ", field, " is ", value, "; expected ", low,
               " … ", high);
}

/// Each letter at most once: twice would need two sets of weights.
void check_letters(const char* field, const std::string& letters, std::string_view known) {
  for (size_t i = 0; i < letters.size(); ++i) {
    const bool good = known.find(letters[i]) != std::string_view::npos &&
                      letters.find(letters[i], i + 1) == std::string::npos;
    HEDDLE_CHECK(good, "config: ", field, " is \"", letters, "\"; expected letters of \"", known,
                 "\", each at most once");
  }
}

void check_stack(const std::string& side, const StackConfig& stack,
                 const TransformerConfig& config) {
  check_range((side + "_layers").c_str(), stack.layers, 1, kMaxLayers);
  check_range((side + "_attention_heads").c_str(), stack.heads, 1, config.width);
  check_range((side + "_ffn_dim").c_str(), stack.ffn_width, 1, 16 * kMaxWidth);
  HEDDLE_CHECK(config.head_width != 0 || config.width % stack.heads == 0, "config: d_model is ",
               config.width, " with ", stack.heads, " ", side,
               "_attention_heads; expected a multiple");
  const int64_t kv_heads = stack.key_value_heads == 0 ? stack.heads : stack.key_value_heads;
  HEDDLE_CHECK(kv_heads > 0 && stack.heads % kv_heads == 0, "config: ", side,
               "_key_value_heads is ", kv_heads, "; expected a divisor of ", stack.heads, " heads");
  const int64_t head_width =
      config.head_width != 0 ? config.head_width : config.width / stack.heads;
  HEDDLE_CHECK(head_width <= 256, "config: ", side, " heads are ", head_width,
               " wide; expected at most 256");
  HEDDLE_CHECK(config.positions != Positions::rotary || head_width % 2 == 0, "config: ", side,
               " heads are ", head_width, " wide; rotary positions expect an even width");
}

void check_token(const char* field, int32_t token, int64_t low, int64_t vocabulary) {
  HEDDLE_CHECK(token >= low && token < vocabulary, "config: ", field, " is ", token, "; expected ",
               low, " … ", vocabulary - 1);
}

void check_rotary(const RotaryConfig& rotary) {
  HEDDLE_CHECK(std::isfinite(rotary.base) && rotary.base > 0, "config: rope_theta is ", rotary.base,
               "; expected a number above 0");
  if (rotary.scaling == RotaryScaling::none) return;
  const auto check_factor = [](const char* field, double value) {
    HEDDLE_CHECK(std::isfinite(value) && value > 0, "config: ", field, " of rope_scaling is ",
                 value, "; expected a number above 0");
  };
  check_factor("factor", rotary.factor);
  check_factor("attention_factor", rotary.magnitude);
  if (rotary.scaling == RotaryScaling::linear) return;
  check_range("original_max_position_embeddings", rotary.original_positions, 1, kMaxPositions);
  check_factor("low_freq_factor", rotary.low_frequency);
  check_factor("beta_slow", rotary.slow_turns);
  check_factor("beta_fast", rotary.fast_turns);
  HEDDLE_CHECK(std::isfinite(rotary.high_frequency) && rotary.high_frequency > rotary.low_frequency,
               "config: high_freq_factor of rope_scaling is ", rotary.high_frequency,
               "; expected more than low_freq_factor, ", rotary.low_frequency);
  HEDDLE_CHECK(rotary.scaling != RotaryScaling::yarn || rotary.base > 1, "config: rope_theta is ",
               rotary.base, "; yarn expects more than 1");
}

/// What the layers and the parameters of a language model can be.
void check_language_model(const TransformerConfig& config) {
  const bool forms = config.decoder_kind == DecoderKind::self_attention && config.gated &&
                     config.positions == Positions::rotary && config.norm == Norm::rms_norm &&
                     !config.norm_bias && !config.output_bias && config.normalizes_before() &&
                     config.normalizes_top() && !config.normalizes_embedding();
  HEDDLE_CHECK(forms,
               "config: a language model of another form; expected a decoder of self-attention "
               "with rotary positions, RMS norms before each sublayer and at the end, and gated "
               "feed-forward layers");
  HEDDLE_CHECK(config.ties == Ties::target_output || config.ties == Ties::none,
               "config: a language model with a source embedding; expected target_output or none");
  HEDDLE_CHECK(config.source_vocabulary == config.target_vocabulary, "config: vocab_size is ",
               config.source_vocabulary, ", decoder_vocab_size ", config.target_vocabulary,
               "; a language model expects the same");
  HEDDLE_CHECK(std::isfinite(config.query_scalar) && config.query_scalar >= 0,
               "config: query_pre_attn_scalar is ", config.query_scalar,
               "; expected a number above 0");
  check_range("sliding_window", config.window, 0, kMaxPositions);
  const int64_t expected = config.window == 0 ? 0 : config.decoder.layers;
  HEDDLE_CHECK(static_cast<int64_t>(config.sliding_layers.size()) == expected,
               "config: layer_types has ", config.sliding_layers.size(), " layers; expected ",
               expected);
  HEDDLE_CHECK(config.window != 0 || !config.sliding_rotary,
               "config: rope_local_base_freq without a sliding_window");
  if (config.sliding_rotary) check_rotary(*config.sliding_rotary);
  for (const int32_t token : config.other_eos) {
    check_token("eos_token_id", token, 0, config.target_vocabulary);
  }
}

bool contains(const std::string& letters, char letter) {
  return letters.find(letter) != std::string::npos;
}

bool is_sinusoidal(Positions positions) {
  return positions == Positions::sinusoidal || positions == Positions::sinusoidal_marian ||
         positions == Positions::sinusoidal_interleaved;
}

}  // namespace

int64_t TransformerConfig::encoder_key_value_heads() const {
  return encoder.key_value_heads != 0 ? encoder.key_value_heads : encoder.heads;
}

int64_t TransformerConfig::decoder_key_value_heads() const {
  return decoder.key_value_heads != 0 ? decoder.key_value_heads : decoder.heads;
}

bool TransformerConfig::normalizes_before() const { return contains(preprocess, 'n'); }
bool TransformerConfig::normalizes_after() const { return contains(postprocess, 'n'); }
bool TransformerConfig::normalizes_embedding() const {
  return contains(postprocess_embedding, 'n');
}
bool TransformerConfig::normalizes_top() const { return contains(postprocess_top, 'n'); }

void TransformerConfig::check() const {
  check_range("d_model", width, 1, kMaxWidth);
  check_range("head_dim", head_width, 0, 256);
  check_range("vocab_size", source_vocabulary, 1, kMaxVocabulary);
  check_range("decoder_vocab_size", target_vocabulary, 1, kMaxVocabulary);
  if (is_language_model()) {
    check_language_model(*this);
  } else {
    check_stack("encoder", encoder, *this);
    HEDDLE_CHECK(!head_norms && query_scalar == 0 && window == 0 && out_bias && !scores,
                 "config: norms of heads, a scale of queries, a window, a score or no bias of out "
                 "in an encoder–decoder; expected them in language models alone");
  }
  check_stack("decoder", decoder, *this);
  check_letters("preprocess", preprocess, "dn");
  check_letters("postprocess", postprocess, "dan");
  check_letters("postprocess_embedding", postprocess_embedding, "dn");
  check_letters("postprocess_top", postprocess_top, "dan");
  HEDDLE_CHECK(std::isfinite(norm_epsilon) && norm_epsilon > 0 && norm_epsilon < 1,
               "config: layer_norm_eps is ", norm_epsilon, "; expected a number above 0, below 1");
  check_rotary(rotary);
  HEDDLE_CHECK(!is_sinusoidal(positions) || width % 2 == 0, "config: d_model is ", width,
               "; sinusoidal positions expect an even width");
  const bool shares = ties == Ties::all || ties == Ties::source_target;
  HEDDLE_CHECK(!shares || source_vocabulary == target_vocabulary, "config: vocab_size is ",
               source_vocabulary, ", decoder_vocab_size ", target_vocabulary,
               "; expected the same, since one embedding serves both");
  check_range("max_position_embeddings", max_positions, positions == Positions::learned ? 1 : 0,
              kMaxPositions);
  check_range("position_offset", position_offset, 0, 1024);
  check_token("eos_token_id", eos, is_language_model() ? -1 : 0, target_vocabulary);
  check_token("pad_token_id", pad, -1, target_vocabulary);
  check_token("unk_token_id", unk, -1, source_vocabulary);
  check_token("decoder_start_token_id", decoder_start, -1, target_vocabulary);
  for (const int32_t token : never_written) {
    check_token("bad_words_ids", token, 0, target_vocabulary);
  }
  check_range("alignment_layer", alignment_layer, -1, decoder.layers - 1);
  check_range("alignment_head", alignment_head, -1, decoder.heads - 1);
}

}  // namespace heddle::model
