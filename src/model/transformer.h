// The Transformer over packed tokens [T, D]: no batch axis, nothing padded. Encoder–decoders and
// language models, which are decoders alone.
//
//   encode       sources of any number of sentences, packed; leaves keys and values of every
//   decoder
//                layer's cross-attention in a DecoderState
//   prefill      language models: prompts, packed; leaves keys and values of every layer
//   decode_step  one more token of any of these sentences
//   forward      teacher-forced: all target tokens at once, for training and scoring
//
// All are made of the layer functions in layers.h, so that they cannot drift apart. Results
// of a sentence are the same to the bit in every batch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "heddle/model/alignments.h"
#include "heddle/model/answer_groups.h"
#include "heddle/model/config.h"
#include "heddle/model/decoder_state.h"
#include "heddle/model/parameters.h"
#include "heddle/ops/matrix.h"
#include "heddle/ops/rows.h"
#include "heddle/tensor/tensor.h"

namespace heddle::model {

/// What the matrices are held and multiplied in.
using Precision = ops::Precision;

/// Sentence pairs side by side: sentence s has sources [source_offsets[s], source_offsets[s + 1])
/// and decoder inputs [target_offsets[s], …), the first of them the start token or −1. Texts of a
/// language model are targets alone.
struct PackedPair {
  std::span<const int32_t> sources{};         ///< [Ts]
  std::span<const int32_t> source_offsets{};  ///< [S + 1], from 0 to Ts; language models: empty
  std::span<const int32_t> targets;           ///< [Tt], shifted right
  std::span<const int32_t> target_offsets;    ///< [S + 1], from 0 to Tt

  /// Language models: what text s is made of when it is a question with answers; or empty.
  std::span<const AnswerGroup> groups{};  ///< [S]
};

struct Weights;

class Transformer {
 public:
  /// Packs the weights for this machine; `files` may be dropped afterwards.
  explicit Transformer(const ModelFiles& files, Precision precision = Precision::native);
  ~Transformer();
  Transformer(Transformer&&) noexcept;
  Transformer& operator=(Transformer&&) noexcept;

  const TransformerConfig& config() const;

  /// Encodes tokens [T], sentence s = [offsets[s], offsets[s + 1]), into slots[s] of the state,
  /// which has been admitted with that length.
  void encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
              DecoderState& state, std::span<const int> slots, ops::Workspace& workspace) const;

  /// Language models: reads tokens [T], prompt s = [offsets[s], offsets[s + 1]) of at least one,
  /// into slots[s] behind what that has read before. Sets hidden [S, D] to the state behind each
  /// prompt's last token. The same bits as a decode_step for each token.
  void prefill(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
               DecoderState& state, std::span<const int> slots, ops::Rows& hidden,
               ops::Workspace& workspace) const;

  /// One step of the rows in `slots`: any subset, any order, each once. `previous` is the token
  /// each wrote last: at its first step config().decoder_start (−1: the zero vector), or behind a
  /// prompt the first token chosen. Sets hidden to [R, D], the input of output().
  void decode_step(DecoderState& state, std::span<const int> slots,
                   std::span<const int32_t> previous, ops::Rows& hidden, ops::Workspace& workspace,
                   const AlignmentRows* alignments = nullptr) const;

  /// The output projection: logits = hidden · outputᵀ + output_bias; [V, D] and [V] (or empty).
  const ops::Matrix& output() const;
  std::span<const float> output_bias() const;

  /// Hidden states [Tt, D] f32 of all target positions.
  Tensor forward(const PackedPair& batch, ops::Workspace& workspace) const;

  int64_t bytes() const;  ///< memory of the weights

 private:
  std::unique_ptr<const Weights> weights_;
};

}  // namespace heddle::model
