#include "heddle/train/group_batches.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"

namespace heddle::train {

namespace {

constexpr int64_t kGroupsAsked = 64;  // at once

void append_groups(data::PackedGroups& row, data::PackedBatch& batch) {
  const auto first = static_cast<int32_t>(batch.targets.size());
  batch.targets.insert(batch.targets.end(), row.tokens.begin(), row.tokens.end());
  batch.labels.insert(batch.labels.end(), row.labels.begin(), row.labels.end());
  for (size_t i = 1; i < row.offsets.size(); ++i) {
    batch.target_offsets.push_back(first + row.offsets[i]);
  }
  batch.pairs.insert(batch.pairs.end(), row.numbers.begin(), row.numbers.end());
  std::move(row.groups.begin(), row.groups.end(), std::back_inserter(batch.groups));
}

class GroupStream : public BatchStream {
 public:
  GroupStream(data::GroupPacker packer, int64_t rows, const ReferenceValues& reference)
      : packer_(std::move(packer)), rows_(rows), reference_(reference) {}

  /// An epoch's last batch may have fewer rows; no batch has rows of two epochs.
  bool next(data::PackedBatch& batch) override {
    batch = {};
    batch.target_offsets.push_back(0);
    if (std::exchange(ended_, false)) return false;
    for (int64_t i = 0; i < rows_ && !ended_; ++i) {
      ended_ = !packer_.next(row_);
      if (!ended_) append_groups(row_, batch);
    }
    if (batch.groups.empty()) return ended_ = false;
    if (reference_.empty()) return true;
    for (const uint64_t group : batch.pairs) reference_.append(group, batch.reference);
    return true;
  }

  data::PackerPosition position() const override { return packer_.position(); }
  double progress() const override { return ended_ ? 0 : packer_.progress(); }

 private:
  data::GroupPacker packer_;
  int64_t rows_;
  ReferenceValues reference_;
  data::PackedGroups row_;
  bool ended_ = false;  // told by the next call
};

}  // namespace

void ReferenceValues::append(uint64_t group, std::vector<double>& values) const {
  for (uint64_t at = offsets[group]; at < offsets[group + 1]; at += 2) {
    const std::array<int32_t, 2> pair{halves[at], halves[at + 1]};
    values.push_back(std::bit_cast<double>(pair));
  }
}

GroupBatches::GroupBatches(data::PreferenceGroups groups, const data::RowPackerOptions& options,
                           int64_t rows, const ReferenceValues& reference)
    : groups_(groups), options_(options), rows_(rows), reference_(reference) {
  HEDDLE_CHECK(rows >= 1, "per_device_train_batch_size: found ", rows, "; expected at least 1");
  HEDDLE_CHECK(reference.empty() || reference.offsets.size() == groups.size() + 1,
               "reference: found values of ", std::ssize(reference.offsets) - 1,
               " questions; expected ", groups.size());
}

std::unique_ptr<BatchStream> GroupBatches::open(const data::PackerPosition& position) const {
  return std::make_unique<GroupStream>(data::GroupPacker(groups_, options_, position), rows_,
                                       reference_);
}

void GroupBatches::describe(io::Value& fixed) const {
  fixed.set("per_device_train_batch_size", rows_);
  fixed.set("packing", options_.packs);
  fixed.set("packing_length", options_.packing_length);
  fixed.set("window", options_.window);
  fixed.set("data_seed", io::Value(static_cast<int64_t>(options_.seed)));
}

int64_t GroupBatches::batches_in_epoch() const {
  const auto rows = static_cast<int64_t>(data::GroupPacker(groups_, options_).rows_in_epoch(0));
  return (rows + rows_ - 1) / rows_;
}

ReferenceCache::ReferenceCache(const std::string& path, uint64_t key)
    : file_(path, key, data::TokenFileShape{}) {}

ReferenceCache open_reference_cache(const data::PreferenceGroups& groups, uint64_t key,
                                    const std::string& folder,
                                    const std::function<AskReference()>& reference,
                                    const std::function<void(uint64_t done)>& told) {
  const std::string path = data::token_file_path(folder, key);
  if (io::exists(path)) {
    try {
      return {path, key};
    } catch (const Error&) {
      // Whatever is wrong with it, making it again is right.
    }
  }
  io::make_folder(folder);
  const AskReference ask = reference();
  const GroupBatches all(groups,
                         {.packing_length = data::kLongestRow, .shuffle = false, .packs = false},
                         kGroupsAsked);
  data::TokenFileWriter writer(path, key, {});
  const auto stream = all.open({});
  uint64_t done = 0;
  for (data::PackedBatch batch; stream->next(batch);) {
    const std::vector<double> values = ask(batch);
    size_t at = 0;
    for (const data::PreferenceGroup& group : batch.groups) {
      std::vector<int32_t> halves;
      for (size_t i = 0; i < group.answers.size(); ++i) {
        const auto pair = std::bit_cast<std::array<int32_t, 2>>(values[at++]);
        halves.insert(halves.end(), pair.begin(), pair.end());
      }
      writer.add_list(halves);
    }
    done += batch.groups.size();
    if (told) told(done);
  }
  writer.finish({});
  return {path, key};
}

}  // namespace heddle::train
