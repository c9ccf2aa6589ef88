#include "heddle/model/transformer.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/mask/builders.h"
#include "heddle/model/layers.h"
#include "heddle/model/packed_forward.h"
#include "heddle/model/step_rows.h"
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
    pass.store(both, {0, half, half},
               {.keys = pools.cross_keys[i].raw(),
                .values = pools.cross_values[i].raw(),
                .dtype = pools.dtype,
                .at = group.at});
  }
}

/// Tokens that slots of a state read next: one each, or several of a prompt behind each other.
struct Steps {
  std::span<const int> slots;       ///< [R]
  std::span<const int32_t> tokens;  ///< [R]
  const AlignmentRows* alignments = nullptr;
};

/// hidden [R, D] = the decoder's output of all these steps at once. Rows of one slot see each other
/// as steps would: each layer's keys and values are in the state before any row looks.
void run_steps(const Weights& weights, const Steps& steps, DecoderState& state, ops::Rows& hidden,
               ops::Workspace& workspace) {
  const TransformerConfig& config = weights.config;
  const size_t count = steps.slots.size();
  StepRows tables(workspace.take<int32_t>(StepRows::kTables * static_cast<int64_t>(count)),
                  static_cast<int64_t>(count));
  tables.advance(steps.slots, config, state);
  Pass pass(weights, workspace);
  SlotMemory memory(state.pools(), tables.at);
  run_decoder(pass,
              {.rows = {.tokens = steps.tokens,
                        .positions = tables.position,
                        .visible = {.begin = tables.self_begin, .length = tables.self_length},
                        .sliding = {.begin = tables.near_begin, .length = tables.near_length}},
               .cross = {.begin = tables.cross_begin, .length = tables.cross_length},
               .alignments = steps.alignments},
              memory, hidden);
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
  HEDDLE_CHECK(!weights_->config.is_language_model(),
               "model: a source for a language model; expected an encoder–decoder. Hint: prefill");
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

void Transformer::prefill(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                          DecoderState& state, std::span<const int> slots, ops::Rows& hidden,
                          ops::Workspace& workspace) const {
  const TransformerConfig& config = weights_->config;
  HEDDLE_CHECK(config.is_language_model(),
               "model: a prompt for an encoder–decoder; expected a language model");
  const int64_t prompts = check_offsets("prompts", offsets, tokens.size());
  HEDDLE_CHECK(static_cast<size_t>(prompts) == slots.size() && hidden.count() == prompts &&
                   hidden.width() == config.width,
               "model: ", prompts, " prompts for ", slots.size(), " slots, hidden is [",
               hidden.count(), ", ", hidden.width(), "]; expected as many of each, ", config.width,
               " wide");
  const ops::Workspace::Scope scope(workspace);
  auto* slot_of = workspace.take<int>(static_cast<int64_t>(tokens.size()));
  for (size_t s = 0; s < slots.size(); ++s) {
    const int64_t length = offsets[s + 1] - offsets[s];
    const int64_t read = state.length(slots[s]), limit = state.target_limit(slots[s]);
    HEDDLE_CHECK(length > 0 && read + length <= limit, "model: slot ", slots[s], " reads ", length,
                 " tokens behind ", read, "; expected at least 1, and ", limit,
                 " in all, its target limit");
    check_length("text", read + length, config);
    std::fill(slot_of + offsets[s], slot_of + offsets[s + 1], slots[s]);
  }
  // A group may end anywhere: what is behind it finds all before it in the state.
  size_t prompt = 0;
  for (size_t first = 0; first < tokens.size(); first += kGroupTokens) {
    const ops::Workspace::Scope group_scope(workspace);
    const size_t count = std::min<size_t>(kGroupTokens, tokens.size() - first);
    ops::Rows rows(static_cast<int64_t>(count), config.width, workspace);
    run_steps(*weights_,
              {.slots = {slot_of + first, count}, .tokens = tokens.subspan(first, count)}, state,
              rows, workspace);
    for (; prompt < slots.size(); ++prompt) {
      const auto last = static_cast<size_t>(offsets[prompt + 1]) - 1;
      if (last >= first + count) break;
      std::copy_n(rows.row(static_cast<int64_t>(last - first)), config.width,
                  hidden.row(static_cast<int64_t>(prompt)));
    }
  }
  hidden.changed();
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
  HEDDLE_CHECK(alignments == nullptr || !weights_->config.is_language_model(),
               "model: alignments of a language model; expected an encoder–decoder");
  if (count == 0) return;
  const ops::Workspace::Scope scope(workspace);
  run_steps(*weights_, {.slots = slots, .tokens = previous, .alignments = alignments}, state,
            hidden, workspace);
}

Tensor Transformer::forward(const PackedPair& batch, ops::Workspace& workspace) const {
  check_pairs(batch, weights_->config);
  const auto width = weights_->config.width;
  const auto target_count = static_cast<int64_t>(batch.targets.size());
  Tensor out = Tensor::empty({target_count, width}, DType::f32);
  if (target_count == 0) return out;

  const ops::Workspace::Scope scope(workspace);
  PackedForward forward(batch, weights_->config, workspace);
  Pass pass(*weights_, workspace);
  ops::Rows hidden(out.data<float>(), target_count, width, width, workspace);
  forward.run(pass, {}, hidden);
  return out;
}

}  // namespace heddle::model
