// Batches of preferences: packed rows of whole groups, with what a reference says of their answers.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "heddle/data/group_packer.h"
#include "heddle/data/token_file.h"
#include "heddle/train/batch_source.h"

namespace heddle::train {

/// What a reference says of each answer, by the number of its group.
struct ReferenceValues {
  std::span<const int32_t> halves{};    ///< [2A]: the two words of each double
  std::span<const uint64_t> offsets{};  ///< [N + 1] into halves

  bool empty() const { return offsets.empty(); }
  void append(uint64_t group, std::vector<double>& values) const;

  /// Groups [first, first + count).
  ReferenceValues part(uint64_t first, uint64_t count) const {
    return {halves, offsets.subspan(first, count + 1)};
  }
};

/// Sentences of a batch are groups here; `rows` of packed groups make one.
class GroupBatches : public BatchSource {
 public:
  GroupBatches(data::PreferenceGroups groups, const data::RowPackerOptions& options, int64_t rows,
               const ReferenceValues& reference = {});
  bool empty() const override { return groups_.size() == 0; }
  std::unique_ptr<BatchStream> open(const data::PackerPosition& position) const override;
  void describe(io::Value& fixed) const override;

  /// Of epoch 0: what a schedule is counted by.
  int64_t batches_in_epoch() const;

 private:
  data::PreferenceGroups groups_;
  data::RowPackerOptions options_;
  int64_t rows_;
  ReferenceValues reference_;
};

/// The values of a reference on disk.
class ReferenceCache {
 public:
  ReferenceCache(const std::string& path, uint64_t key);
  ReferenceValues values() const { return {file_.tokens(), file_.offsets()}; }

 private:
  data::TokenFile file_;
};

/// What gives the values [A] of all answers of a batch.
using AskReference = std::function<std::vector<double>(const data::PackedBatch&)>;

/// Opens the cache in the folder, or makes it by asking for every group; it appears complete or not
/// at all. `key` tells groups and reference from any others; `told` hears how many groups are done.
ReferenceCache open_reference_cache(const data::PreferenceGroups& groups, uint64_t key,
                                    const std::string& folder,
                                    const std::function<AskReference()>& reference,
                                    const std::function<void(uint64_t done)>& told = {});

}  // namespace heddle::train
