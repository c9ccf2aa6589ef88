#include "heddle/ops/embedding.h"

#include <algorithm>
#include <cmath>

#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops {

void embed(std::span<const int32_t> tokens, const Matrix& table, float scale,
           const Positions& positions, const Next& next, Rows& y, Workspace& workspace) {
  const int64_t width = table.columns();
  HEDDLE_CHECK(static_cast<int64_t>(tokens.size()) == y.count() && y.width() == width,
               "embed: ", tokens.size(), " tokens of width ", width, ", y [", y.count(), ", ",
               y.width(), "]");
  HEDDLE_CHECK(positions.table == nullptr || positions.of_row.size() == tokens.size(),
               "embed: ", positions.of_row.size(), " positions for ", tokens.size(), " tokens");
  for (size_t r = 0; r < tokens.size(); ++r) {
    const int32_t token = tokens[r];
    HEDDLE_CHECK(token >= -1 && token < table.rows(), "embed: token ", token, " of ", table.rows());
    float* to = y.row(static_cast<int64_t>(r));
    if (token < 0) {
      std::fill(to, to + width, 0.0f);
    } else {
      table.row(token, to);
      for (int64_t d = 0; d < width; ++d) to[d] *= scale;
    }
    if (positions.table == nullptr) continue;
    const int32_t position = positions.of_row[r];
    HEDDLE_CHECK(position >= 0 && position < positions.count, "embed: position ", position, " of ",
                 positions.count);
    const float* from = positions.table + position * width;
    for (int64_t d = 0; d < width; ++d) to[d] += from[d];
  }
  y.changed();
  if (next.step > 0) y.codes(next.step, workspace);
}

void embed_backward(std::span<const int32_t> tokens, float scale, const Positions& positions,
                    int64_t width, PlainRows d_y, const EmbeddingGradients& gradients,
                    Workspace& workspace) {
  const auto add = workspace.kernels().backward.add;
  for (size_t r = 0; r < tokens.size(); ++r) {
    const float* from = d_y.row(static_cast<int64_t>(r));
    if (tokens[r] >= 0 && gradients.d_table != nullptr) {
      add(from, width, scale, gradients.d_table + tokens[r] * width);
    }
    if (gradients.d_positions != nullptr) {
      add(from, width, 1, gradients.d_positions + positions.of_row[r] * width);
    }
  }
}

Tensor sinusoidal_positions(int64_t positions, int64_t width) {
  HEDDLE_CHECK(positions >= 1 && width >= 4 && width % 2 == 0, "positions: found [", positions,
               ", ", width, "]; expected an even width from 4 on");
  Tensor table = Tensor::empty({positions, width}, DType::f32);
  const int64_t half = width / 2;
  const double step = std::log(10000.0) / static_cast<double>(half - 1);
  for (int64_t p = 0; p < positions; ++p) {
    float* row = table.data<float>() + p * width;
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) * std::exp(-step * static_cast<double>(i));
      row[i] = static_cast<float>(std::sin(angle));
      row[half + i] = static_cast<float>(std::cos(angle));
    }
  }
  return table;
}

}  // namespace heddle::ops
