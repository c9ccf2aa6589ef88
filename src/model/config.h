// What a Transformer looks like: every number and choice that its weights do not show.
//
// Field names of config.json are those of Hugging Face's MarianConfig where it has one, and a
// MarianMT config.json reads as it is. Fields of our own are marked (ours). A language model is a
// decoder alone, with 0 encoder layers; its config.json is that of its family (config_language.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "heddle/io/value.h"

namespace heddle::model {

enum class Norm : uint8_t { layer_norm, rms_norm };

/// "gelu" is the exact one (erf), "gelu_new" its tanh form, "quick_gelu" x·sigmoid(1.702 x), which
/// Marian calls gelu; "silu" is also called swish.
enum class ActivationKind : uint8_t { relu, gelu, gelu_tanh, quick_gelu, silu };

/// What tells one position from another. The sinusoidal tables are [position, D] with half = D / 2:
///   sinusoidal              [sin(p/10000^(i/half)) | cos(…)]        as Hugging Face
///   sinusoidal_marian       the same over half − 1                  as Marian
///   sinusoidal_interleaved  sin and cos in turn, over half          as the first Transformer
/// Rotary turns queries and keys of self-attention, halves paired as Hugging Face does.
enum class Positions : uint8_t {
  none,
  sinusoidal,
  sinusoidal_marian,
  sinusoidal_interleaved,
  learned,
  rotary,
};

/// How rotary angles are stretched, so that a model reads on behind the positions that it was first
/// trained with: all frequencies divided by a factor (linear), the slow ones alone with a ramp to
/// the fast ones (llama3, of Llama 3.1), or that by numbers of turns (yarn, arXiv 2309.00071).
enum class RotaryScaling : uint8_t { none, linear, llama3, yarn };

/// The angles of rotary positions.
struct RotaryConfig {
  double base = 10000;                           ///< rope_theta
  RotaryScaling scaling = RotaryScaling::none;   ///< rope_type
  double factor = 1;                             ///< factor
  int64_t original_positions = 0;                ///< original_max_position_embeddings
  double low_frequency = 1, high_frequency = 4;  ///< llama3: low_freq_factor, high_freq_factor
  double fast_turns = 32, slow_turns = 1;        ///< yarn: beta_fast, beta_slow
  bool whole_dimensions = true;                  ///< yarn: truncate
  double magnitude = 1;                          ///< yarn: attention_factor, of cosines and sines

  bool operator==(const RotaryConfig&) const = default;
};

/// What the decoder remembers of its own output: all earlier keys and values, or one cell
/// (SSRU, Kim et al. 2019: c = f∘c + (1 − f)∘Wx, f = σ(W_f x + b_f), h = relu(c)).
enum class DecoderKind : uint8_t { self_attention, ssru };

/// Which of the three embedding matrices (source, target, output) are one.
enum class Ties : uint8_t {
  all,            ///< model.shared.weight
  source_target,  ///< model.shared.weight, lm_head.weight
  target_output,  ///< model.encoder.embed_tokens.weight, model.decoder.embed_tokens.weight
  none,           ///< the two and lm_head.weight
};

/// One stack of layers.
struct StackConfig {
  int64_t layers = 6;           ///< encoder_layers, decoder_layers
  int64_t heads = 8;            ///< encoder_attention_heads, … (H)
  int64_t key_value_heads = 0;  ///< encoder_key_value_heads (ours; K); 0: as many as heads
  int64_t ffn_width = 2048;     ///< encoder_ffn_dim, decoder_ffn_dim

  bool operator==(const StackConfig&) const = default;
};

struct TransformerConfig {
  int64_t width = 512;            ///< d_model (D)
  int64_t head_width = 0;         ///< head_dim (E); 0: D / H of the stack
  int64_t source_vocabulary = 0;  ///< vocab_size
  int64_t target_vocabulary = 0;  ///< decoder_vocab_size; 0 in the file: the same
  StackConfig encoder;
  StackConfig decoder;
  DecoderKind decoder_kind = DecoderKind::self_attention;  ///< decoder_type (ours)

  /// Marian's letters, done from left to right around each sublayer f: in `preprocess` n norms the
  /// input of f; in `postprocess` a adds the sublayer's input, n norms; d (dropout) says nothing
  /// here. "" and "dan" are post-norm, "n" and "da" pre-norm (normalize_before). `…_embedding`
  /// works on the embeddings (normalize_embedding), `…_top` after the last layer, where a adds the
  /// embeddings (add_final_layer_norm).
  std::string preprocess;
  std::string postprocess = "dan";
  std::string postprocess_embedding = "d";
  std::string postprocess_top;

  Norm norm = Norm::layer_norm;  ///< norm_type (ours)
  double norm_epsilon = 1e-5;    ///< layer_norm_eps (Hugging Face's Marian: always 1e-5)
  bool norm_bias = true;         ///< norm_bias (ours); RMS norms have none

  ActivationKind activation = ActivationKind::silu;  ///< activation_function
  bool gated = false;          ///< gated_ffn (ours): fc2(act(fc_gate x)·fc1 x)
  bool attention_bias = true;  ///< attention_bias: of q, k, v and out …
  bool out_bias = true;        ///< … but not of out when false: Qwen 2
  bool ffn_bias = true;        ///< mlp_bias: of fc1, fc2 and fc_gate
  bool output_bias = true;     ///< output_bias (ours): final_logits_bias

  Ties ties = Ties::all;         ///< share_encoder_decoder_embeddings, tie_word_embeddings
  bool scale_embedding = false;  ///< scale_embedding: embeddings times √D
  Positions positions = Positions::sinusoidal;  ///< position_embedding_type (ours), with
                                                ///< static_position_embeddings of Marian
  int64_t position_offset = 0;                  ///< position_offset (ours): row of position 0 in a
                                                ///< learned table; BART has 2
  RotaryConfig rotary;                          ///< rope_theta (and rope_scaling)
  int64_t max_positions = 0;  ///< max_position_embeddings: longest source and target; 0: no end

  int32_t eos = 0;             ///< eos_token_id; of a language model −1: none
  int32_t pad = -1;            ///< pad_token_id; −1: none
  int32_t unk = 1;             ///< unk_token_id (ours)
  int32_t decoder_start = -1;  ///< decoder_start_token_id; −1: the zero vector, as Marian starts;
                               ///< of a language model bos_token_id, or −1
  bool ends_source = true;     ///< source_eos (ours): eos stands behind the source
  std::vector<int32_t> never_written;  ///< bad_words_ids of one token, rising, beside pad

  // Language models alone.

  bool head_norms = false;  ///< q_norm, k_norm: RMS norm of each head of queries and keys
  double query_scalar = 0;  ///< query_pre_attn_scalar: q·k counts query_scalar^−½ times; 0: E
  int64_t window = 0;       ///< sliding_window: keys that a row of a sliding layer sees, its own
                            ///< among them; 0: no layer slides
  std::vector<bool> sliding_layers;            ///< layer_types, one a layer; empty without a window
  std::optional<RotaryConfig> sliding_rotary;  ///< of sliding layers; not given: as the others
  std::vector<int32_t> other_eos;              ///< the rest of eos_token_id where that is a list
  bool scores = false;  ///< …ForSequenceClassification with one label: instead of logits a number
                        ///< for a text, read at its last token

  int alignment_layer = -1;  ///< alignment_layer (ours): decoder layer whose cross-attention
                             ///< aligns, −1 the last
  int alignment_head = 0;    ///< alignment_head (ours); −1: the mean of all heads

  // Derived.
  bool is_language_model() const { return encoder.layers == 0; }
  bool slides(int64_t layer) const {
    return window != 0 && sliding_layers[static_cast<size_t>(layer)];
  }
  int64_t encoder_head_width() const {
    return head_width != 0 ? head_width : width / encoder.heads;
  }
  int64_t decoder_head_width() const {
    return head_width != 0 ? head_width : width / decoder.heads;
  }
  int64_t encoder_key_value_heads() const;
  int64_t decoder_key_value_heads() const;
  bool normalizes_before() const;     ///< `preprocess` has an n
  bool normalizes_after() const;      ///< `postprocess` has an n
  bool normalizes_embedding() const;  ///< `postprocess_embedding` has an n
  bool normalizes_top() const;        ///< `postprocess_top` has an n

  /// Throws unless every number is sensible and they fit together: "config: d_model is 100 with 8
  /// heads; expected a multiple".
  void check() const;

  bool operator==(const TransformerConfig&) const = default;
};

/// Reads the content of a config.json, ours or that of a Hugging Face model (MarianMT, Llama,
/// Mistral, Qwen 2 and 3, Gemma 3), and checks it. Unknown fields are ignored, wrong types refused.
TransformerConfig read_config(const io::Field& json);

/// The content of our config.json; read_config gives back an equal config. Its model_type is
/// "marian" where Hugging Face's MarianMT computes the same, else "heddle"; of a language model
/// that of a family that computes the same.
io::Value to_json(const TransformerConfig& config);

}  // namespace heddle::model
