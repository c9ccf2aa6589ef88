// The whole model over packed sentence pairs, all target tokens at once: what
// `Transformer::forward` and training run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"
#include "heddle/model/layers.h"
#include "heddle/model/pass.h"
#include "heddle/model/transformer.h"
#include "heddle/ops/rows.h"
#include "heddle/ops/workspace.h"

namespace heddle::model {

/// For each token of packed sentences: its place in its sentence, and where that begins, counted
/// from the first sentence, and how long it is.
struct TokenPlaces {
  TokenPlaces(std::span<const int32_t> offsets, ops::Workspace& workspace);

  std::span<int32_t> position, begin, length;  // [T]
};

/// Lengths of the sentences that offsets cut, those without tokens too.
std::vector<int64_t> lengths_of(std::span<const int32_t> offsets);

/// … and without those, which have no part in a mask of one side.
std::vector<int64_t> lengths_with_tokens(std::span<const int32_t> offsets);

/// Throws unless offsets cut `tokens` tokens into sentences; returns how many.
int64_t check_offsets(const char* what, std::span<const int32_t> offsets, size_t tokens);

/// Throws when a sentence is longer than the model takes.
void check_length(const char* what, int64_t length, const TransformerConfig& config);

/// Throws unless the pairs fit together and the model; a language model has no sources.
void check_pairs(const PackedPair& pairs, const TransformerConfig& config);

/// What target tokens see of the targets: their sentences up to them, or what answers see.
ColumnMask causal_mask(const PackedPair& pairs);

/// That mask, `causal`, within the window.
ColumnMask window_mask(const PackedPair& pairs, const ColumnMask& causal, int64_t window);

/// Masks and places of checked pairs, at least one token on either side; lives until a tape's way
/// back has been gone.
class PackedForward {
 public:
  /// Without `skips`, attention computes every tile of its masks: the same bits, to be tested.
  PackedForward(const PackedPair& pairs, const TransformerConfig& config, ops::Workspace& workspace,
                bool skips = true);
  PackedForward(const PackedForward&) = delete;
  PackedForward& operator=(const PackedForward&) = delete;

  /// hidden [Tt, D] = the decoder's output. Rows are numbered from these on in dropout.
  struct FirstRows {
    uint64_t source = 0, target = 0;
  };
  void run(Pass& pass, const FirstRows& first, ops::Rows& hidden);

 private:
  struct Masked {
    Masked(ColumnMask made, bool skips);
    ColumnMask mask;
    MaskPlan plan;
  };

  const PackedPair pairs_;
  int64_t width_;
  TokenPlaces target_places_;
  std::optional<TokenPlaces> source_places_;  // this and the next two: with an encoder
  std::optional<Masked> documents_, cross_;
  Masked causal_;
  std::optional<Masked> window_;  // causal_ within the window, where layers slide
  PackedRows sources_;
  DecoderRows targets_;
  std::optional<ops::Rows> encoded_;
  std::optional<PackedMemory<Pass>> memory_;
};

}  // namespace heddle::model
