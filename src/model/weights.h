// The weights of a model, packed: what the layer functions read. Made once from Parameters, then
// read-only and shared by all threads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "heddle/model/config.h"
#include "heddle/model/low_rank.h"
#include "heddle/model/parameters.h"
#include "heddle/model/position_table.h"
#include "heddle/ops/activation.h"
#include "heddle/ops/matrix.h"

namespace heddle::model {

/// A bias, or a norm's weight; may be empty.
using Vector = std::vector<float>;

/// Place of a parameter in the list of parameters_of; −1: there is none.
using ParameterNumber = int32_t;

/// One or several projections of the same input, side by side in the output: [R, K] → [R, ΣN].
/// One matrix where their precisions and input steps agree, else one a projection.
struct Projection {
  struct Part {
    ops::Matrix matrix;  // [N, K]
    Vector bias;         // [N], or empty

    /// What stands above each other in it: rows of factor · parameter.
    struct Source {
      ParameterNumber weight, bias;
      int64_t rows;
      float weight_factor, bias_factor;
    };
    std::vector<Source> sources;
    std::optional<LowRank> low_rank{};  // an adapter's change
  };
  std::vector<Part> parts;
  int64_t width = 0;  ///< ΣN

  /// Step that the input should be quantised with; 0: none, or one a row.
  float input_step() const { return parts.empty() ? 0 : parts.front().matrix.input_scale(); }

  /// What a producer of the input should leave behind when nobody else reads it.
  ops::Next wanted() const {
    return {.step = input_step(), .only_codes = parts.size() == 1 && input_step() > 0};
  }
};

struct NormWeights {
  Vector weight, bias;  // [D]
  ParameterNumber weight_number = -1, bias_number = -1;
};

/// What stands around a sublayer f: x' = norm(f(norm(x)) + x), any part of it absent, or the sum
/// after the norm.
struct Wrap {
  std::optional<NormWeights> before;  ///< norms the sublayer's input
  std::optional<NormWeights> after;
  bool adds = false;          ///< the sublayer's input is added …
  bool adds_first = false;    ///< … before the norm, not after it
  float next_step = 0;        ///< of the projection that reads x' as it is; 0: none does
  bool drops_input = false;   ///< when training: dropout of what f reads …
  bool drops_result = false;  ///< … and of what it returns
};

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_width = 0;  // H, K, E
  std::optional<double> scale{};                    ///< of q·k; 1 / √E when not given
  int64_t queries() const { return heads * head_width; }
  int64_t keys() const { return kv_heads * head_width; }
};

/// RMS norms of each head of the queries and of the keys, weights [E].
struct HeadNorms {
  NormWeights queries, keys;
};

struct SelfAttention {
  Projection in;   ///< [R, D] → [R, (H + 2K) · E]: queries | keys | values
  Projection out;  ///< [R, H · E] → [R, D]
  Wrap wrap;
  std::optional<HeadNorms> head_norms{};  ///< before heads are turned
  bool slides = false;                    ///< sees the last `window` keys alone
};

struct CrossAttention {
  Projection queries;      ///< [R, D] → [R, H · E]
  Projection keys_values;  ///< of the encoder's output: [T, D] → [T, 2K · E]
  Projection out;          ///< [R, H · E] → [R, D]
  Wrap wrap;
};

struct Ssru {
  Projection gates;  ///< [R, D] → [R, 2D]: W x | W_f x + b_f
  Wrap wrap;
};

struct FeedForward {
  Projection in;   ///< [R, D] → [R, F], or gate | value [R, 2F]
  Projection out;  ///< [R, F] → [R, D]
  Wrap wrap;
};

struct EncoderLayer {
  SelfAttention attention;
  FeedForward feed_forward;
};

/// Either `attention` or `ssru` has weights; `cross` has none in a language model.
struct DecoderLayer {
  SelfAttention attention;
  Ssru ssru;
  CrossAttention cross;
  FeedForward feed_forward;
};

/// What the layers of a stack share, and what stands before and behind them.
struct StackEnds {
  AttentionShape attention;
  RotaryTable rotary;          ///< of self-attention; not used unless positions are rotary
  RotaryTable sliding_rotary;  ///< of layers that slide, when they have another
  ops::Matrix embedding;       ///< [V, D]
  ParameterNumber embedding_number = -1, positions_number = -1;
  float scale = 1;          ///< of the embeddings
  PositionTable positions;  ///< added to them, or empty
  std::optional<NormWeights> embedding_norm;
  float first_step = 0;  ///< of the projection that reads the embeddings as they are; 0: none does
  bool drops_embedding = false;  ///< when training
  Wrap top;                      ///< `adds` adds the embeddings
};

struct Weights {
  /// Matrices may have their shapes alone, where their numbers are on a GPU.
  enum class Matrices : uint8_t { packed, shapes };

  Weights(const ModelFiles& files, ops::Precision precision, Matrices matrices = Matrices::packed);

  /// Takes over other values, f32, in the order of parameters_of; made with Precision::f32.
  void update(std::span<const Tensor> values);

  TransformerConfig config;
  ops::Activation activation;
  StackEnds encoder_ends, decoder_ends;  ///< of a language model the latter alone
  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
  ops::Matrix output;  ///< [V, D]; the same memory as an embedding that it is tied to
  Vector output_bias;  ///< [V], or empty
  ParameterNumber output_number = -1, output_bias_number = -1;
  int64_t bytes = 0;
};

}  // namespace heddle::model
