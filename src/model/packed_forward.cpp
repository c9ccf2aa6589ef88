#include "heddle/model/packed_forward.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/mask/algebra.h"
#include "heddle/mask/builders.h"

namespace heddle::model {

namespace {

constexpr TileShape kTile{64, 64};  // that of the CPU kernels

MaskPlan plan_of(const ColumnMask& mask, bool skips) {
  return skips ? MaskPlan(mask, kTile) : MaskPlan::without_skipping(mask, kTile);
}

}  // namespace

ColumnMask causal_mask(const PackedPair& pairs) {
  if (!pairs.groups.empty()) return mask_of(pairs.groups);
  return masks::causal_document(lengths_with_tokens(pairs.target_offsets));
}

ColumnMask window_mask(const PackedPair& pairs, const ColumnMask& causal, int64_t window) {
  if (!pairs.groups.empty()) return mask_of(pairs.groups, window);
  return masks::intersect(causal, masks::sliding_window(causal.key_length(), window));
}

TokenPlaces::TokenPlaces(std::span<const int32_t> offsets, ops::Workspace& workspace) {
  const int32_t first = offsets.front();
  const int64_t count = offsets.back() - first;
  auto* places = workspace.take<int32_t>(3 * count);
  position = {places, static_cast<size_t>(count)};
  begin = {places + count, static_cast<size_t>(count)};
  length = {places + 2 * count, static_cast<size_t>(count)};
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (int32_t t = offsets[s]; t < offsets[s + 1]; ++t) {
      const auto at = static_cast<size_t>(t - first);
      position[at] = t - offsets[s];
      begin[at] = offsets[s] - first;
      length[at] = offsets[s + 1] - offsets[s];
    }
  }
}

std::vector<int64_t> lengths_of(std::span<const int32_t> offsets) {
  std::vector<int64_t> lengths;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    lengths.push_back(int64_t{offsets[s + 1]} - offsets[s]);
  }
  return lengths;
}

std::vector<int64_t> lengths_with_tokens(std::span<const int32_t> offsets) {
  std::vector<int64_t> lengths = lengths_of(offsets);
  std::erase(lengths, 0);
  return lengths;
}

int64_t check_offsets(const char* what, std::span<const int32_t> offsets, size_t tokens) {
  HEDDLE_CHECK(!offsets.empty() && offsets.front() == 0 &&
                   static_cast<size_t>(offsets.back()) == tokens && std::ranges::is_sorted(offsets),
               "model: offsets of ", what, " run from ", offsets.empty() ? -1 : offsets.front(),
               " to ", offsets.empty() ? -1 : offsets.back(), "; expected 0, rising to ", tokens);
  return static_cast<int64_t>(offsets.size()) - 1;
}

void check_length(const char* what, int64_t length, const TransformerConfig& config) {
  HEDDLE_CHECK(config.max_positions == 0 || length <= config.max_positions, "model: a ", what,
               " has ", length, " tokens; expected at most ", config.max_positions,
               ", max_position_embeddings");
}

void check_pairs(const PackedPair& pairs, const TransformerConfig& config) {
  if (config.is_language_model()) {
    HEDDLE_CHECK(pairs.sources.empty() && pairs.source_offsets.empty(),
                 "model: ", pairs.sources.size(),
                 " source tokens for a language model; expected none");
    check_offsets("texts", pairs.target_offsets, pairs.targets.size());
    if (!pairs.groups.empty()) {
      check_groups(pairs.groups, pairs.target_offsets, config);
      for (const AnswerGroup& group : pairs.groups) check_length("text", group.longest(), config);
      return;
    }
    for (const int64_t length : lengths_of(pairs.target_offsets)) {
      check_length("text", length, config);
    }
    return;
  }
  const int64_t sources = check_offsets("sources", pairs.source_offsets, pairs.sources.size());
  const int64_t targets = check_offsets("targets", pairs.target_offsets, pairs.targets.size());
  HEDDLE_CHECK(sources == targets, "model: ", sources, " sources beside ", targets,
               " targets; expected as many");
  for (const int64_t length : lengths_of(pairs.source_offsets)) {
    check_length("source", length, config);
  }
  for (const int64_t length : lengths_of(pairs.target_offsets)) {
    check_length("target", length, config);
  }
}

PackedForward::Masked::Masked(ColumnMask made, bool skips)
    : mask(std::move(made)), plan(plan_of(mask, skips)) {}

PackedForward::PackedForward(const PackedPair& pairs, const TransformerConfig& config,
                             ops::Workspace& workspace, bool skips)
    : pairs_(pairs),
      width_(config.width),
      target_places_(pairs.target_offsets, workspace),
      causal_(causal_mask(pairs), skips) {
  if (!pairs.groups.empty()) write_positions(pairs.groups, target_places_.position);
  const auto seen = [](const std::optional<Masked>& masked) {
    return Visible{.mask = &masked->mask, .plan = &masked->plan};
  };
  targets_ = {.rows = {.tokens = pairs.targets,
                       .positions = target_places_.position,
                       .visible = {.mask = &causal_.mask, .plan = &causal_.plan}},
              .offsets = pairs.target_offsets};
  if (config.window != 0) {
    window_.emplace(window_mask(pairs, causal_.mask, config.window), skips);
    targets_.rows.sliding = seen(window_);
  }
  if (config.is_language_model()) return;
  source_places_.emplace(pairs.source_offsets, workspace);
  documents_.emplace(masks::document(lengths_with_tokens(pairs.source_offsets)), skips);
  cross_.emplace(
      masks::cross_document(lengths_of(pairs.target_offsets), lengths_of(pairs.source_offsets)),
      skips);
  sources_ = {
      .tokens = pairs.sources, .positions = source_places_->position, .visible = seen(documents_)};
  targets_.cross = seen(cross_);
}

void PackedForward::run(Pass& pass, const FirstRows& first, ops::Rows& hidden) {
  encoded_.emplace(pass.rows(static_cast<int64_t>(pairs_.sources.size()), width_));
  memory_.emplace(*encoded_);
  if (source_places_) {
    pass.set_first_row(first.source);
    run_encoder(pass, sources_, *encoded_);
  }
  pass.set_first_row(first.target);
  run_decoder(pass, targets_, *memory_, hidden);
}

}  // namespace heddle::model
