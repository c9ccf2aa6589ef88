// A batch cut into shards of whole sentences.
#pragma once

#include <vector>

#include "heddle/model/training.h"

namespace heddle::model {

/// Sentences [first, end) of a batch.
struct ShardRange {
  size_t first, end;
};

/// As few shards as a multiple of `workers` allows with about kShardTokens tokens each, in order
/// and of like cost; none are empty, so there may be fewer.
std::vector<ShardRange> cut_shards(const PackedPair& pairs, int workers);

/// Tokens of both sides: enough for products at full speed, few enough to bound what a tape keeps.
inline constexpr int64_t kShardTokens = 2048;

/// One shard with offsets of its own.
class Shard {
 public:
  Shard(const TrainingBatch& batch, const ShardRange& range);
  Shard(Shard&&) noexcept = default;
  Shard& operator=(Shard&&) noexcept = default;

  const TrainingBatch& batch() const { return batch_; }
  int64_t first_source() const { return first_source_; }  ///< rows of the batch before it
  int64_t first_target() const { return first_target_; }
  bool has_labels() const;

 private:
  int64_t first_source_, first_target_;
  std::vector<int32_t> source_offsets_, target_offsets_;
  TrainingBatch batch_;
};

}  // namespace heddle::model
