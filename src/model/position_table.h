// Positions: tables that are added to embeddings, and the rotation of queries and keys.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "heddle/model/config.h"
#include "heddle/ops/embedding.h"
#include "heddle/ops/rows.h"

namespace heddle::model {

/// What is added to the embedding at each position. A sinusoidal table has no end: rows behind the
/// stored part are computed when they are asked for.
class PositionTable {
 public:
  PositionTable() = default;  ///< adds nothing
  PositionTable(Positions kind, int64_t width);
  /// A learned table [positions, D] whose row `offset` is position 0.
  PositionTable(std::vector<float> table, int64_t width, int64_t offset);

  /// The table and the row of each of `positions`, as ops::embed takes them; what it points to
  /// lives in this table or, for long sentences, in the workspace.
  ops::Positions rows(std::span<const int32_t> positions, ops::Workspace& workspace) const;

  /// Other values for a learned table, all its rows.
  void assign(std::span<const float> table);
  int64_t offset() const { return offset_; }

 private:
  void compute(int64_t position, float* row) const;

  Positions kind_ = Positions::none;
  int64_t width_ = 0;
  int64_t offset_ = 0;
  std::vector<float> table_;         // [stored, D]
  std::vector<double> frequencies_;  // sinusoidal: [D / 2]
};

/// Rotary positions (Su et al. 2021), halves paired: (a, b) at (e, e + E / 2) becomes
/// (a cos − b sin, b cos + a sin) with the angle p · f(base^(−2e / E)); f, and what cosines and
/// sines are multiplied by, are the scaling's.
class RotaryTable {
 public:
  RotaryTable() = default;
  RotaryTable(const RotaryConfig& config, int64_t head_width);

  bool used() const { return !frequencies_.empty(); }

  /// Turns `heads` heads from column 0 of each row on, row r by positions[r].
  void turn(std::span<const int32_t> positions, int64_t heads, ops::Rows& x) const;

  /// The transpose of turn, which is how gradients of what was turned go on.
  void turn_back(std::span<const int32_t> positions, int64_t heads, ops::PlainRows d_x) const;

  /// The row of one position, [E]: cos | sin of its angles.
  void compute(int64_t position, float* row) const;

 private:
  void rotate(std::span<const int32_t> positions, int64_t heads, float direction,
              ops::PlainRows x) const;

  std::vector<double> frequencies_;  // [E / 2]
  double magnitude_ = 1;
  std::vector<float> table_;  // [stored, E]: cos | sin
};

/// The frequencies of the angles, [E / 2]: an angle is position · frequency.
std::vector<double> rotary_frequencies(const RotaryConfig& config, int64_t head_width);

}  // namespace heddle::model
