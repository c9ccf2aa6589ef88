#include "heddle/data/row_packer.h"

namespace heddle::data {

std::vector<int64_t> PackedRow::lengths() const {
  std::vector<int64_t> lengths(examples.size());
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = offsets[i + 1] - offsets[i];
  return lengths;
}

RowPacker::RowPacker(TokenExamples examples, const RowPackerOptions& options,
                     PackerPosition position)
    : examples_(examples),
      order_(
          examples.size(), [examples](uint64_t i) { return examples.length(i); }, options,
          position) {}

bool RowPacker::next(PackedRow& row) {
  const RowOrder::Row* examples = order_.next();
  if (examples != nullptr) pack(*examples, row);
  return examples != nullptr;
}

void RowPacker::pack(const RowOrder::Row& examples, PackedRow& row) const {
  for (auto* list : {&row.tokens, &row.labels, &row.positions}) list->clear();
  row.offsets.assign(1, 0);
  row.examples.assign(examples.begin(), examples.end());
  row.learned = 0;
  for (const uint32_t example : examples) {
    const std::span<const int32_t> stored = examples_.example(example);
    for (size_t i = 0; i < stored.size(); ++i) {
      const bool learns = i + 1 < stored.size() && is_learned(stored[i + 1]);
      row.tokens.push_back(token_of(stored[i]));
      row.labels.push_back(learns ? token_of(stored[i + 1]) : kNoLabel);
      row.positions.push_back(static_cast<int32_t>(i));
      row.learned += learns ? 1 : 0;
    }
    row.offsets.push_back(static_cast<int32_t>(row.tokens.size()));
  }
}

}  // namespace heddle::data
