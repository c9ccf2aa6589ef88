// Tokens to rows.
#pragma once

#include <cstdint>
#include <span>

#include "heddle/ops/activation.h"
#include "heddle/ops/matrix.h"

namespace heddle::ops {

struct Positions {
  const float* table = nullptr;       ///< [positions, D]; null: none are added
  int64_t count = 0;                  ///< rows of the table
  std::span<const int32_t> of_row{};  ///< [R]
};

/// y[r] = table[tokens[r]] · scale + positions[of_row[r]]; token −1 stands for the zero vector.
/// Throws at tokens outside [−1, V) and positions outside the table.
void embed(std::span<const int32_t> tokens, const Matrix& table, float scale,
           const Positions& positions, const Next& next, Rows& y, Workspace& workspace);

/// What `embed` read: rows [V, D] and [positions, D] that gradients are added to; null: none.
struct EmbeddingGradients {
  float* d_table;
  float* d_positions;
};
void embed_backward(std::span<const int32_t> tokens, float scale, const Positions& positions,
                    int64_t width, PlainRows d_y, const EmbeddingGradients& gradients,
                    Workspace& workspace);

/// Marian's and "Attention is all you need"'s table [positions, D] in the form sin half, cos half:
/// sin(p / 10000^(i / (D/2 − 1))) at i < D/2, then cos of the same.
Tensor sinusoidal_positions(int64_t positions, int64_t width);

}  // namespace heddle::ops
