// The activations between two operations: f32 [R, width], with a copy in int8 that is made once and
// read by every matrix with the same step.
#pragma once

#include <cstdint>

#include "heddle/ops/workspace.h"

namespace heddle::ops {

/// Rows in 8 bits: x ≈ (code − zero) · step, with |code − zero| <= 127.
struct Codes {
  const uint8_t* data;  ///< [R, stride], `zero` behind the width
  int64_t stride;       ///< a multiple of kCodeAlignment
  int zero;             ///< 127, or 0 when no value is negative
  const float* steps;   ///< [R], or null: `step` holds for all
  float step;
};

inline constexpr int64_t kCodeAlignment = 64;

/// Rows of floats and nothing else: how gradients are handed to a backward.
struct PlainRows {
  float* values;
  int64_t stride;

  float* row(int64_t r) const { return values + r * stride; }
};

/// The gradient of rows [count, width] while a tape is run backwards; null values: all zeros yet.
struct Gradient {
  float* values = nullptr;
  int64_t count = 0, width = 0;
  bool produced = false;  ///< an operation has written the rows
};

class Rows {
 public:
  /// Uninitialised values [count, width] from the workspace.
  Rows(int64_t count, int64_t width, Workspace& workspace);

  /// Values that lie elsewhere, never with an int8 copy; their gradient grows in `gradient`.
  Rows(float* values, int64_t count, int64_t width, Gradient* gradient);

  /// A view of values that lie elsewhere, rows `stride` floats apart: one slice of wider rows, a
  /// range of a key/value pool. The int8 copy is still the workspace's.
  Rows(float* values, int64_t count, int64_t width, int64_t stride, Workspace& workspace);

  int64_t count() const { return count_; }
  int64_t width() const { return width_; }
  int64_t stride() const { return stride_; }

  float* row(int64_t r) { return values_ + r * stride_; }
  const float* row(int64_t r) const { return values_ + r * stride_; }

  /// Null unless a tape made these rows; they are its columns from gradient_column() on.
  Gradient* gradient() const { return gradient_; }
  int64_t gradient_column() const { return gradient_column_; }

  /// Columns [begin, end) of every row, as a view of the same values and gradient.
  Rows columns(int64_t begin, int64_t end, Workspace& workspace);

  /// To be called after values were written by hand: the int8 copy is made anew when next needed.
  void changed() { state_ = State::values; }

  /// The int8 copy: code = zero + clip(rint(x / step), −127, 127); NaN counts as 127. With step 0
  /// each
  /// row has its own, largest |x| / 127. Kept until `changed`, or until another step is asked for.
  const Codes& codes(float step, Workspace& workspace);

  /// For producers that write codes themselves: where to put them. Sets what `codes` returns;
  /// values count as absent when `only_codes`.
  uint8_t* fill_codes(float step, int zero, bool only_codes);
  bool has_values() const { return state_ != State::codes; }

 private:
  void fill_padding();

  enum class State : uint8_t { values, both, codes };

  float* values_;
  int64_t count_, width_, stride_;
  uint8_t* code_memory_;  // null: no int8 copy
  float* step_memory_;    // [R]
  Codes codes_{};
  State state_ = State::values;
  Gradient* gradient_ = nullptr;
  int64_t gradient_column_ = 0;
};

}  // namespace heddle::ops
