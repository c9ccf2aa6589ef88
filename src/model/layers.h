// The layers: one definition each of embedding, self-attention, SSRU, cross-attention and
// feed-forward over packed rows x [R, D], and the two stacks made of them.
//
// The encoder is the same for translation and training. A decoder's rows are one step of some
// sentences, or all target tokens of some sentences (teacher-forced); the difference lies in what
// is handed in: the past of a step is in a DecoderState, that of a packed target among its rows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "heddle/model/pass.h"
#include "heddle/model/weights.h"
#include "heddle/ops/rows.h"

namespace heddle::model {

/// Tokens side by side, with what they see of each other; in the memory of the pass's device.
struct PackedRows {
  std::span<const int32_t> tokens;     ///< [R], −1: the zero vector
  std::span<const int32_t> positions;  ///< [R]
  Visible visible;
  Visible sliding{};  ///< of layers that slide: the same within the window
};

/// The rows of a decoder and all that they look at.
struct DecoderRows {
  PackedRows rows;
  std::span<const int32_t> offsets{};  ///< whole sentences: row offsets, [S + 1]
  Visible cross{};                     ///< of a language model nothing
  const AlignmentRows* alignments = nullptr;
};

/// Where a decoder layer finds its past and its source, for which a language model does not ask.
template <typename P>
class DecoderMemoryOf {
 public:
  virtual ~DecoderMemoryOf() = default;
  virtual LayerPast past(int64_t layer) = 0;
  virtual KeysOf<typename P::Rows> source(P& pass, int64_t layer) = 0;
};
using DecoderMemory = DecoderMemoryOf<Pass>;

// P is a Pass of the host or of a GPU (cuda/pass.h): one definition of the layers for both, in
// layers_of_pass.h.

/// x [R, D] = the encoder's output.
template <typename P>
void run_encoder(P& pass, const PackedRows& rows, typename P::Rows& x);

/// x [R, D] = the decoder's output, which the output projection reads.
template <typename P>
void run_decoder(P& pass, const DecoderRows& rows, DecoderMemoryOf<P>& memory, typename P::Rows& x);

/// Keys and values of a decoder layer's cross-attention, [T, 2K · E], from the encoder's output.
template <typename P>
void project_source(P& pass, const DecoderLayer& layer, typename P::Rows& encoded,
                    typename P::Rows& y) {
  pass.linear(encoded, layer.cross.keys_values, {}, y);
}

/// The source as the encoder left it, packed like the decoder's rows; no past.
template <typename P>
class PackedMemory : public DecoderMemoryOf<P> {
 public:
  using Rows = typename P::Rows;
  explicit PackedMemory(Rows& encoded) : encoded_(encoded) {}
  LayerPast past(int64_t) override { return {}; }
  KeysOf<Rows> source(P& pass, int64_t layer) override {
    const DecoderLayer& weights = pass.weights().decoder[static_cast<size_t>(layer)];
    both_.emplace(pass.rows(encoded_.count(), weights.cross.keys_values.width));
    project_source(pass, weights, encoded_, *both_);
    const int64_t half = both_->width() / 2;
    return {.keys = both_->row(0),
            .values = both_->row(0) + half,
            .tokens = both_->count(),
            .stride = both_->stride(),
            .rows = &*both_,
            .first_key = 0,
            .first_value = half};
  }

 private:
  Rows& encoded_;
  std::optional<Rows> both_;  // keys | values of the layer asked for last
};

}  // namespace heddle::model
