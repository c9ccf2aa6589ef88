// Packs groups of preferences into rows, as row_packer.h packs examples: a group is never cut.
#pragma once

#include <vector>

#include "heddle/data/preference_groups.h"
#include "heddle/data/row_order.h"

namespace heddle::data {

/// N groups of T tokens; masks::shared_question over those that are shared.
struct PackedGroups {
  std::vector<int32_t> tokens;   ///< [T]
  std::vector<int32_t> labels;   ///< [T]: the token behind it in the same answer if it is learned,
                                 ///< or kNoLabel. A question's last token has none: each answer's
                                 ///< first token follows it
  std::vector<int32_t> offsets;  ///< [N + 1]
  std::vector<PreferenceGroup> groups;  ///< [N]
  std::vector<uint64_t> numbers;        ///< [N], of the groups in the data
};

class GroupPacker {
 public:
  /// The groups' memory must outlive the packer. Throws when a group is longer than a row.
  GroupPacker(PreferenceGroups groups, const RowPackerOptions& options,
              PackerPosition position = {});

  /// The next row; false at the end of an epoch, and the next call begins the next one.
  bool next(PackedGroups& row);

  PackerPosition position() const { return order_.position(); }
  double progress() const { return order_.progress(); }
  uint64_t rows_in_epoch(uint64_t epoch) const { return order_.rows_in_epoch(epoch); }

 private:
  PreferenceGroups groups_;
  RowOrder order_;
};

}  // namespace heddle::data
