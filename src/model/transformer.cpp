#include "heddle/model/transformer.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/mask/builders.h"
#include "heddle/model/layers.h"
#include "heddle/model/packed_forward.h"
#include "heddle/model/weights.h"

namespace heddle::model {

namespace {

/// Sources and pasts in the slots of a DecoderState.
class SlotMemory : public DecoderMemory {
 public:
  SlotMemory(const StatePools& pools, std::span<const int32_t> at) : pools_(pools), at_(at) {}

  LayerPast past(int64_t layer) override {
    const auto i = static_cast<size_t>(layer);
    LayerPast past{.dtype = pools_.dtype, .at = at_};
    if (pools_.cells.defined()) {
      past.cells = pools_.cells.data<float>() + layer * pools_.cells.stride(0);
    } else {
      past.keys = pools_.self_keys[i].raw();
      past.values = pools_.self_values[i].raw();
      past.tokens = pools_.self_keys[i].dim(0);
    }
    return past;
  }

  Keys source(Pass&, int64_t layer) override {
    const auto i = static_cast<size_t>(layer);
    const Tensor &keys = pools_.cross_keys[i], &values = pools_.cross_values[i];
    return {keys.raw(), values.raw(), keys.dim(0), keys.dim(1), pools_.dtype};
  }

 private:
  const StatePools& pools_;
  std::span<const int32_t> at_;
};

/// Consecutive sentences that are encoded at once.
struct EncodeGroup {
  std::span<const int32_t> tokens;   ///< [T]
  std::span<const int32_t> offsets;  ///< [S + 1], the first of any value
  std::span<const int32_t> at;       ///< [T]: rows of the source pools
};

/// So many tokens of activations stay in a core's own cache; more at once are not faster.
constexpr int32_t kGroupTokens = 256;

/// The sentence behind the group that begins with sentence `first`: whole sentences, at least one.
size_t end_of_group(std::span<const int32_t> offsets, size_t first) {
  size_t end = first + 1;
  while (end + 1 < offsets.size() && offsets[end + 1] - offsets[first] <= kGroupTokens) ++end;
  return end;
}

/// How the tokens of a group see each other. A sentence's bits may not depend on where it stands
/// among others, but tiles of a mask cut it here or there: so it is attention that computes each
/// document by itself or, where that does not apply, the row view. Which of them depends on the
/// sentence's own length alone, since one of more than kGroupTokens is a group of its own.
class Documents {
 public:
  Documents(const EncodeGroup& group, const AttentionShape& shape, const TokenPlaces& places) {
    constexpr int64_t kWidestLanes = 16, kLongest = 512;  // what cpu-documents takes
    if (shape.head_width % kWidestLanes == 0 && std::ssize(group.tokens) <= kLongest) {
      mask_.emplace(masks::document(lengths_of(group.offsets)));
      visible_ = {.mask = &*mask_, .implementation = "cpu-documents"};
    } else {
      visible_ = {.begin = places.begin, .length = places.length};
    }
  }
  Documents(const Documents&) = delete;
  Documents& operator=(const Documents&) = delete;

  const Visible& visible() const { return visible_; }

 private:
  std::optional<ColumnMask> mask_;
  Visible visible_;
};

void encode_group(const Weights& weights, const EncodeGroup& group, const StatePools& pools,
                  ops::Workspace& workspace) {
  const ops::Workspace::Scope scope(workspace);
  const auto count = std::ssize(group.tokens);
  const TokenPlaces places(group.offsets, workspace);
  const Documents documents(group, weights.encoder_ends.attention, places);
  Pass pass(weights, workspace);
  ops::Rows encoded(count, weights.config.width, workspace);
  run_encoder(
      pass, {.tokens = group.tokens, .positions = places.position, .visible = documents.visible()},
      encoded);
  for (size_t i = 0; i < weights.decoder.size(); ++i) {
    const DecoderLayer& layer = weights.decoder[i];
    const ops::Workspace::Scope layer_scope(workspace);
    ops::Rows both(count, layer.cross.keys_values.width, workspace);  // keys | values
    project_source(pass, layer, encoded, both);
    const int64_t half = both.width() / 2;
    store_rows(both.columns(0, half, workspace), group.at, pools.dtype, pools.cross_keys[i].raw());
    store_rows(both.columns(half, 2 * half, workspace), group.at, pools.dtype,
               pools.cross_values[i].raw());
  }
}

}  // namespace

Transformer::Transformer(const ModelFiles& files, Precision precision)
    : weights_(std::make_unique<const Weights>(files, precision)) {}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;
Transformer& Transformer::operator=(Transformer&&) noexcept = default;

const TransformerConfig& Transformer::config() const { return weights_->config; }
const ops::Matrix& Transformer::output() const { return weights_->output; }
std::span<const float> Transformer::output_bias() const { return weights_->output_bias; }
int64_t Transformer::bytes() const { return weights_->bytes; }

void Transformer::encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                         DecoderState& state, std::span<const int> slots,
                         ops::Workspace& workspace) const {
  const int64_t sentences = check_offsets("sources", offsets, tokens.size());
  HEDDLE_CHECK(static_cast<size_t>(sentences) == slots.size(), "model: ", sentences,
               " sources for ", slots.size(), " slots; expected as many");
  if (tokens.empty()) return;
  const ops::Workspace::Scope scope(workspace);
  const auto count = static_cast<int64_t>(tokens.size());
  auto* at = workspace.take<int32_t>(count);
  for (size_t s = 0; s < slots.size(); ++s) {
    const int64_t length = offsets[s + 1] - offsets[s];
    check_length("source", length, weights_->config);
    const TokenPool::Range range = state.source_range(slots[s]);
    HEDDLE_CHECK(range.length == length, "model: slot ", slots[s], " was admitted with ",
                 range.length, " source tokens; found ", length);
    for (int64_t i = 0; i < length; ++i) {
      at[offsets[s] + i] = static_cast<int32_t>(range.begin + i);
    }
  }

  const EncodeGroup all{.tokens = tokens, .offsets = offsets, .at = {at, tokens.size()}};
  for (size_t s = 0; s < slots.size();) {
    const size_t end = end_of_group(offsets, s);
    const auto first = static_cast<size_t>(offsets[s]);
    const auto length = static_cast<size_t>(offsets[end]) - first;
    encode_group(*weights_,
                 {.tokens = all.tokens.subspan(first, length),
                  .offsets = all.offsets.subspan(s, end - s + 1),
                  .at = all.at.subspan(first, length)},
                 state.pools(), workspace);
    s = end;
  }
}

void Transformer::decode_step(DecoderState& state, std::span<const int> slots,
                              std::span<const int32_t> previous, ops::Rows& hidden,
                              ops::Workspace& workspace, const AlignmentRows* alignments) const {
  const size_t count = slots.size();
  HEDDLE_CHECK(previous.size() == count && hidden.count() == static_cast<int64_t>(count) &&
                   hidden.width() == weights_->config.width,
               "model: ", count, " slots with ", previous.size(), " tokens, hidden is [",
               hidden.count(), ", ", hidden.width(), "]; expected as many of each, ",
               weights_->config.width, " wide");
  if (count == 0) return;
  const ops::Workspace::Scope scope(workspace);
  const auto take = [&] {
    return std::span<int32_t>(workspace.take<int32_t>(static_cast<int64_t>(slots.size())),
                              slots.size());
  };
  const auto position = take(), at = take(), self_begin = take(), self_length = take(),
             cross_begin = take(), cross_length = take();
  for (size_t r = 0; r < count; ++r) {
    const DecoderState::Step step = state.advance(slots[r]);
    check_length("target", step.position + 1, weights_->config);
    position[r] = static_cast<int32_t>(step.position);
    at[r] = static_cast<int32_t>(step.at);
    self_begin[r] = static_cast<int32_t>(step.past.begin);
    self_length[r] = static_cast<int32_t>(step.position + 1);
    cross_begin[r] = static_cast<int32_t>(step.source.begin);
    cross_length[r] = static_cast<int32_t>(step.source.length);
  }
  Pass pass(*weights_, workspace);
  SlotMemory memory(state.pools(), at);
  run_decoder(pass,
              {.rows = {.tokens = previous,
                        .positions = position,
                        .visible = {.begin = self_begin, .length = self_length}},
               .cross = {.begin = cross_begin, .length = cross_length},
               .alignments = alignments},
              memory, hidden);
}

Tensor Transformer::forward(const PackedPair& batch, ops::Workspace& workspace) const {
  check_pairs(batch, weights_->config);
  const auto width = weights_->config.width;
  const auto target_count = static_cast<int64_t>(batch.targets.size());
  Tensor out = Tensor::empty({target_count, width}, DType::f32);
  if (target_count == 0) return out;

  const ops::Workspace::Scope scope(workspace);
  PackedForward forward(batch, width, workspace);
  Pass pass(*weights_, workspace);
  ops::Rows hidden(out.data<float>(), target_count, width, width, workspace);
  forward.run(pass, {}, hidden);
  return out;
}

}  // namespace heddle::model
