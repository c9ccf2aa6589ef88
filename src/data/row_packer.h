// Packs examples of language models into rows without padding, in an order that (seed, epoch) alone
// decides.
//
//   epoch   all examples in a random order (an exact permutation), cut into windows
//   window  its examples, the longest first, each into the row with the least room that holds it
//           (best fit decreasing; Johnson 1974: at most 11/9 of the fewest rows possible, and 4);
//           rows come in a random order, and the examples of a row in that of the epoch
//
// A row is a list of documents that do not see each other: masks::causal_document(lengths()).
#pragma once

#include <cstdint>
#include <vector>

#include "heddle/data/row_order.h"
#include "heddle/data/token_examples.h"

namespace heddle::data {

inline constexpr int32_t kNoLabel = -1;  ///< no loss and no gradient

/// N documents of T tokens.
struct PackedRow {
  std::vector<int32_t> tokens;     ///< [T]
  std::vector<int32_t> labels;     ///< [T]: the next token of the document, or kNoLabel
  std::vector<int32_t> positions;  ///< [T], from 0 in each document
  std::vector<int32_t> offsets;    ///< [N + 1]
  std::vector<uint64_t> examples;  ///< [N], their numbers in the data
  int64_t learned = 0;             ///< tokens with a label

  int64_t documents() const { return static_cast<int64_t>(examples.size()); }
  std::vector<int64_t> lengths() const;  ///< [N], of the documents
};

class RowPacker {
 public:
  /// The examples' memory must outlive the packer. Throws when an example is longer than a row.
  /// The `batch` of a position is a row here.
  RowPacker(TokenExamples examples, const RowPackerOptions& options, PackerPosition position = {});

  /// The next row; false at the end of an epoch, and the next call begins the next one.
  bool next(PackedRow& row);

  PackerPosition position() const { return order_.position(); }

  /// Share of the epoch that was given, in [0, 1].
  double progress() const { return order_.progress(); }

  /// Rows of an epoch: what a schedule of learning rates counts by. Packs all of its windows.
  uint64_t rows_in_epoch(uint64_t epoch) const { return order_.rows_in_epoch(epoch); }

 private:
  void pack(const RowOrder::Row& examples, PackedRow& row) const;

  TokenExamples examples_;
  RowOrder order_;
};

}  // namespace heddle::data
