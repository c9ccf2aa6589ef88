// The output projection joined with the choice of the next token: logits are looked at block by
// block while they are warm and never stored as [R, V].
//
// logit[r, n] = x[r]·W[n] + bias[n]
#pragma once

#include <cstdint>
#include <span>

#include "heddle/ops/matrix.h"
#include "heddle/ops/rows.h"

namespace heddle::ops {

/// Rows of ids, ragged: row r has ids[offsets[r]] … ids[offsets[r + 1] − 1], rising, without
/// repeats. Two offsets alone are one list for all rows. No offsets: not given.
struct IdLists {
  std::span<const int32_t> ids{};
  std::span<const int32_t> offsets{};

  bool given() const { return !offsets.empty(); }
};

struct Projection {
  const Matrix* weight = nullptr;  ///< [V, D]
  const float* bias = nullptr;     ///< [V]

  /// Row n of weight and bias stands for token tokens[n], rising: weight is a Matrix::select of a
  /// shortlist that many rows and steps share. Empty: for token n.
  std::span<const int32_t> tokens{};

  /// Row r may choose among its own list only (a shortlist a sentence); not together with `tokens`.
  IdLists candidates{};

  IdLists banned{};  ///< tokens that row r may not choose; their logits count as −inf
};

/// What is written, for R rows and k tokens each, best first; ties go to the lower id. A row with
/// fewer than k choices is filled up with id −1 and logit −inf. NaN logits count as −inf.
struct Choice {
  int32_t* ids;               ///< [R, k]
  float* logits = nullptr;    ///< [R, k], or null
  float* log_sums = nullptr;  ///< [R], or null: ln Σ exp of the logits, for log-probabilities
};

inline constexpr int64_t kMaxTopK = 64;

/// The best token of each row of x [R, D] (k = 1).
void argmax(Rows& x, const Projection& projection, const Choice& choice, Workspace& workspace);

/// The k <= 64 best tokens of each row.
void top_k(Rows& x, const Projection& projection, int64_t k, const Choice& choice,
           Workspace& workspace);

}  // namespace heddle::ops
