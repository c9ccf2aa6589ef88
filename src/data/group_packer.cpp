#include "heddle/data/group_packer.h"

#include <utility>

#include "heddle/data/row_packer.h"

namespace heddle::data {

namespace {

/// Adds the tokens of a group with what each of them is to predict.
void append_labels(std::span<const int32_t> stored, const PreferenceGroup& group,
                   PackedGroups& row) {
  std::vector<uint8_t> ends(stored.size(), 0);  // the last tokens of questions and answers
  size_t at = 0;
  for (size_t i = 0; i < group.answers.size(); ++i) {
    if (i == 0 || !group.shared) ends[(at += static_cast<size_t>(group.question)) - 1] = 1;
    ends[(at += static_cast<size_t>(group.answers[i])) - 1] = 1;
  }
  for (size_t t = 0; t < stored.size(); ++t) {
    const bool learns = ends[t] == 0 && is_learned(stored[t + 1]);
    row.tokens.push_back(token_of(stored[t]));
    row.labels.push_back(learns ? token_of(stored[t + 1]) : kNoLabel);
  }
  row.offsets.push_back(static_cast<int32_t>(row.tokens.size()));
}

}  // namespace

GroupPacker::GroupPacker(PreferenceGroups groups, const RowPackerOptions& options,
                         PackerPosition position)
    : groups_(groups),
      order_(
          groups.size(), [groups](uint64_t i) { return groups.length(i); }, options, position) {}

bool GroupPacker::next(PackedGroups& row) {
  const RowOrder::Row* items = order_.next();
  if (items == nullptr) return false;
  row = {};
  row.offsets.push_back(0);
  row.numbers.assign(items->begin(), items->end());
  for (const uint32_t item : *items) {
    append_labels(groups_.stored(item), row.groups.emplace_back(groups_.group(item)), row);
  }
  return true;
}

}  // namespace heddle::data
