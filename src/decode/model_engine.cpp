#include "heddle/decode/model_engine.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/decode/choose.h"
#include "heddle/decode/output_bias.h"
#include "heddle/ops/linear.h"

namespace heddle::decode {

namespace {

/// Joins lists into one with offsets; an empty list of candidates stands for all tokens, which no
/// ragged list can say, so callers keep the two apart.
ops::IdLists ragged(std::span<const Tokens> lists, std::vector<int32_t>& ids,
                    std::vector<int32_t>& offsets) {
  if (lists.empty()) return {};
  ids.clear();
  offsets.assign(1, 0);
  for (const Tokens list : lists) {
    ids.insert(ids.end(), list.begin(), list.end());
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  return {ids, offsets};
}

}  // namespace

ModelEngine::ModelEngine(const model::Transformer& transformer, const EngineSettings& settings)
    : transformer_(transformer),
      settings_(settings),
      bias_(output_bias(transformer.config(), transformer.output_bias(), settings.allow_unknown)),
      workspace_(settings.instructions),
      state_(
          transformer,
          {.rows = settings.rows,
           .source_tokens = transformer.config().is_language_model() ? 0 : settings.source_tokens,
           .target_tokens = settings.target_tokens}) {
  workspace_.share_with(settings.threads);
}

int64_t ModelEngine::vocabulary() const { return transformer_.config().target_vocabulary; }
int32_t ModelEngine::start() const { return transformer_.config().decoder_start; }
int32_t ModelEngine::end() const { return transformer_.config().eos; }
int64_t ModelEngine::max_positions() const { return transformer_.config().max_positions; }

std::optional<int> ModelEngine::admit(int64_t source_length, int64_t target_limit) {
  return state_.admit(source_length, target_limit);
}

std::optional<int> ModelEngine::fork(int slot) { return state_.fork(slot); }

void ModelEngine::reorder(std::span<const int> slots, std::span<const int> parents) {
  state_.reorder(slots, parents);
}

void ModelEngine::release(int slot) { state_.release(slot); }

void ModelEngine::encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                         std::span<const int> slots) {
  const Share share(profile_.encoder);
  transformer_.encode(tokens, offsets, state_, slots, workspace_);
}

void ModelEngine::decode(const Step& step, ops::Rows& hidden) {
  const Share share(profile_.decoder);
  if (!keeps_alignments_) {
    transformer_.decode_step(state_, step.slots, step.previous, hidden, workspace_);
    return;
  }
  alignment_lengths_.clear();
  for (const int slot : step.slots) alignment_lengths_.push_back(state_.source_length(slot));
  alignment_stride_ = *std::max_element(alignment_lengths_.begin(), alignment_lengths_.end());
  alignments_.resize(step.slots.size() * static_cast<size_t>(alignment_stride_));
  const model::AlignmentRows rows{alignments_.data(), alignment_stride_};
  transformer_.decode_step(state_, step.slots, step.previous, hidden, workspace_, &rows);
}

ops::Projection ModelEngine::projection(const Step& step) {
  return {.weight = &transformer_.output(),
          .bias = bias_.data(),
          .candidates = ragged(step.candidates, candidate_ids_, candidate_offsets_),
          .banned = ragged(step.banned, banned_ids_, banned_offsets_)};
}

void ModelEngine::advance(const Step& step) {
  const ops::Workspace::Scope scope(workspace_);
  ops::Rows hidden(std::ssize(step.slots), transformer_.config().width, workspace_);  // [R, D]
  decode(step, hidden);
}

void ModelEngine::prefill(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                          std::span<const int> slots) {
  const Share share(profile_.encoder);
  const ops::Workspace::Scope scope(workspace_);
  ops::Rows hidden(std::ssize(slots), transformer_.config().width, workspace_);  // [S, D]
  transformer_.prefill(tokens, offsets, state_, slots, hidden, workspace_);
}

void ModelEngine::best(const Step& step, std::span<int32_t> tokens) {
  if (!settings_.fused) {
    std::vector<float> values(tokens.size() * static_cast<size_t>(vocabulary()));  // [R, V]
    logits(step, values);
    const Share share(profile_.projection);
    for (size_t r = 0; r < tokens.size(); ++r) {
      const auto row = values.begin() + static_cast<std::ptrdiff_t>(r) * vocabulary();
      tokens[r] = static_cast<int32_t>(std::max_element(row, row + vocabulary()) - row);
    }
    return;
  }
  const ops::Workspace::Scope scope(workspace_);
  ops::Rows hidden(std::ssize(step.slots), transformer_.config().width, workspace_);  // [R, D]
  decode(step, hidden);
  const Share share(profile_.projection);
  ops::argmax(hidden, projection(step), {.ids = tokens.data()}, workspace_);
}

void ModelEngine::top(const Step& step, int k, std::span<Choice> choices) {
  HEDDLE_CHECK(k >= 1 && k <= ops::kMaxTopK, "engine: asked for the best ", k, "; expected 1 … ",
               ops::kMaxTopK);
  const ops::Workspace::Scope scope(workspace_);
  const int64_t rows = std::ssize(step.slots);
  ops::Rows hidden(rows, transformer_.config().width, workspace_);  // [R, D]
  decode(step, hidden);
  const Share share(profile_.projection);
  int32_t* ids = workspace_.take<int32_t>(rows * k);  // [R, k]
  float* logits = workspace_.take<float>(rows * k);   // [R, k]
  float* log_sums = workspace_.take<float>(rows);     // [R]
  ops::top_k(hidden, projection(step), k, {ids, logits, log_sums}, workspace_);
  for (int64_t i = 0; i < rows * k; ++i) {
    choices[static_cast<size_t>(i)] =
        ids[i] < 0 ? Choice{} : Choice{ids[i], logits[i] - log_sums[i / k]};
  }
}

void ModelEngine::logits(const Step& step, std::span<float> values) {
  const ops::Workspace::Scope scope(workspace_);
  const int64_t rows = std::ssize(step.slots), width = vocabulary();
  ops::Rows hidden(rows, transformer_.config().width, workspace_);  // [R, D]
  decode(step, hidden);
  const Share share(profile_.projection);
  ops::Rows out(values.data(), rows, width, width, workspace_);  // [R, V]
  ops::linear(hidden, transformer_.output(), {.bias = bias_.data()}, out, workspace_);
  for (size_t r = 0; r < step.slots.size(); ++r) {
    forbid(values.subspan(r * static_cast<size_t>(width), static_cast<size_t>(width)),
           step.candidates.empty() ? Tokens{} : step.candidates[r],
           step.banned.empty() ? Tokens{} : step.banned[r]);
  }
}

std::span<const float> ModelEngine::alignment(int row) const {
  const size_t r = static_cast<size_t>(row);
  return std::span(alignments_)
      .subspan(r * static_cast<size_t>(alignment_stride_),
               static_cast<size_t>(alignment_lengths_[r]));
}

}  // namespace heddle::decode
