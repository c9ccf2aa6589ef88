// Questions with several answers as texts of a batch: what preferences are learned from.
//
//   shared      question | answer 1 | … | answer K    each answer sees the question and itself, its
//                                                     positions go on behind the question
//   not shared  question | answer 1 | question | answer 2 | …    each pair a text of its own
//
// Both have the same losses and gradients. Where layers slide, a question is shared only if no text
// is longer than the window: distances in a row are not those in a text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "heddle/mask/mask.h"
#include "heddle/model/config.h"
#include "heddle/ops/rows.h"
#include "heddle/ops/workspace.h"

namespace heddle::model {

/// A question and its K answers, lengths in tokens, at least 1 each.
struct AnswerGroup {
  int64_t question = 0;
  std::span<const int32_t> answers{};  ///< [K]
  bool shared = true;

  int64_t tokens() const;   ///< in a row
  int64_t longest() const;  ///< of a question with one answer
};

/// Throws unless group s has as many tokens as text s of the offsets, and the model takes it.
void check_groups(std::span<const AnswerGroup> groups, std::span<const int32_t> offsets,
                  const TransformerConfig& config);

/// What each token of the groups sees; `window` 0: everything before it that is of its text.
ColumnMask mask_of(std::span<const AnswerGroup> groups, int64_t window = 0);

/// Places of the tokens in their texts: [T].
void write_positions(std::span<const AnswerGroup> groups, std::span<int32_t> positions);

/// The rows that the loss of answers reads: those that predict their learned tokens, or the last of
/// each. The last row of a shared question predicts the first token of every answer.
class AnswerRows {
 public:
  enum class Of : uint8_t { learned_tokens, last_tokens };

  /// tokens [T] of the groups, labels [T]: the token behind one in its answer, −1: not learned.
  AnswerRows(std::span<const AnswerGroup> groups, std::span<const int32_t> tokens,
             std::span<const int32_t> labels, Of of);

  int64_t count() const { return static_cast<int64_t>(places_.size()); }  ///< L
  std::span<const int64_t> places() const { return places_; }    ///< [L], of rows; some are equal
  std::span<const int32_t> labels() const { return labels_; }    ///< [L]; none of last tokens
  std::span<const int64_t> offsets() const { return offsets_; }  ///< [A + 1], of answers into L

  /// Rows of hidden [T, D] → [L, D], in the workspace.
  ops::Rows gathered(const ops::Rows& hidden, ops::Workspace& workspace) const;

  /// Sets to [T, D] to the sum of the rows of from [L, D], zeros where there is none.
  void scatter(ops::PlainRows from, int64_t width, ops::PlainRows to) const;

 private:
  int64_t all_;                   // T
  std::vector<int64_t> places_;   // [L]
  std::vector<int32_t> labels_;   // [L]
  std::vector<int64_t> offsets_;  // [A + 1]
};

}  // namespace heddle::model
