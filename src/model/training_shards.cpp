#include "heddle/model/training_shards.h"

#include <algorithm>

namespace heddle::model {

namespace {

std::vector<int32_t> own_offsets(std::span<const int32_t> offsets, const ShardRange& range) {
  std::vector<int32_t> own;
  if (offsets.empty()) return own;
  for (size_t s = range.first; s <= range.end; ++s) {
    own.push_back(offsets[s] - offsets[range.first]);
  }
  return own;
}

/// offsets[at], or 0 where there is no such side.
int32_t offset_at(std::span<const int32_t> offsets, size_t at) {
  return offsets.empty() ? 0 : offsets[at];
}

/// Elements [first, first + count) of something with `each` a row, or nothing where there is none.
template <typename T>
std::span<const T> part(std::span<const T> all, int64_t first, size_t count, int64_t each = 1) {
  if (all.empty()) return {};
  return all.subspan(static_cast<size_t>(first * each), count * static_cast<size_t>(each));
}

}  // namespace

std::vector<ShardRange> cut_shards(const PackedPair& pairs, int workers) {
  const size_t sentences = pairs.target_offsets.size() - 1;
  const auto tokens_before = [&](size_t sentence) {
    return int64_t{offset_at(pairs.source_offsets, sentence)} + pairs.target_offsets[sentence];
  };
  const int64_t total = tokens_before(sentences);
  const int64_t rounds =
      std::max<int64_t>(1, (total + workers * kShardTokens - 1) / (workers * kShardTokens));
  const int64_t shards = rounds * workers;
  std::vector<ShardRange> ranges;
  size_t first = 0;
  for (int64_t i = 1; i <= shards; ++i) {
    size_t end = first;
    while (end < sentences && tokens_before(end) * shards < total * i) ++end;
    if (end > first) ranges.push_back({first, end});
    first = end;
  }
  return ranges;
}

Shard::Shard(const TrainingBatch& batch, const ShardRange& range)
    : first_source_(offset_at(batch.pair.source_offsets, range.first)),
      first_target_(batch.pair.target_offsets[range.first]),
      source_offsets_(own_offsets(batch.pair.source_offsets, range)),
      target_offsets_(own_offsets(batch.pair.target_offsets, range)),
      batch_(batch) {
  const auto sources =
      source_offsets_.empty() ? size_t{0} : static_cast<size_t>(source_offsets_.back());
  const auto targets = static_cast<size_t>(target_offsets_.back());
  batch_.pair = {.sources = part(batch.pair.sources, first_source_, sources),
                 .source_offsets = source_offsets_,
                 .targets = part(batch.pair.targets, first_target_, targets),
                 .target_offsets = target_offsets_,
                 .groups = part(batch.pair.groups, static_cast<int64_t>(range.first),
                                range.end - range.first)};
  batch_.first_group = range.first;
  batch_.labels = part(batch.labels, first_target_, targets);
  batch_.weights = part(batch.weights, first_target_, targets);
  batch_.teacher.ids = part(batch.teacher.ids, first_target_, targets, batch.teacher.count);
  batch_.teacher.log_probabilities =
      part(batch.teacher.log_probabilities, first_target_, targets, batch.teacher.count);
}

bool Shard::has_labels() const {
  if (!batch_.pair.groups.empty()) return true;  // an answer's first token is always learned
  return std::ranges::any_of(batch_.labels, [](int32_t label) { return label >= 0; });
}

}  // namespace heddle::model
