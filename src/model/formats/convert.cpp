#include "heddle/model/formats/convert.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heddle/base/error.h"

namespace heddle::model {

namespace {

template <typename T>
void transpose_into(const T* from, T* to, int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 32;  // both sides stay in the first cache
  for (int64_t row = 0; row < rows; row += kTile) {
    for (int64_t column = 0; column < columns; column += kTile) {
      for (int64_t r = row; r < std::min(row + kTile, rows); ++r) {
        for (int64_t c = column; c < std::min(column + kTile, columns); ++c) {
          to[c * rows + r] = from[r * columns + c];
        }
      }
    }
  }
}

}  // namespace

Tensor transposed(const Tensor& matrix) {
  HEDDLE_CHECK(matrix.rank() == 2 && matrix.is_contiguous(), "model: transpose of ",
               matrix.shape().text(), "; expected a contiguous matrix");
  const int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  Tensor result = Tensor::empty({columns, rows}, matrix.dtype());
  switch (size_of(matrix.dtype())) {
    case 1:
      transpose_into(static_cast<const uint8_t*>(matrix.raw()), static_cast<uint8_t*>(result.raw()),
                     rows, columns);
      break;
    case 2:
      transpose_into(static_cast<const uint16_t*>(matrix.raw()),
                     static_cast<uint16_t*>(result.raw()), rows, columns);
      break;
    case 4:
      transpose_into(static_cast<const uint32_t*>(matrix.raw()),
                     static_cast<uint32_t*>(result.raw()), rows, columns);
      break;
    default:
      transpose_into(static_cast<const uint64_t*>(matrix.raw()),
                     static_cast<uint64_t*>(result.raw()), rows, columns);
  }
  return result;
}

Tensor sinusoids(Positions kind, int64_t positions, int64_t width, int64_t first) {
  Tensor table = Tensor::zeros({positions, width}, DType::f32);
  const int64_t half = width / 2;
  const int64_t steps =
      kind == Positions::sinusoidal_marian ? std::max<int64_t>(half - 1, 1) : half;
  const bool in_turn = kind == Positions::sinusoidal_interleaved;
  for (int64_t i = 0; i < half; ++i) {
    const double exponent = static_cast<double>(i) / static_cast<double>(steps);
    const double rate = std::pow(10000.0, -exponent);
    const int64_t sine = in_turn ? 2 * i : i, cosine = in_turn ? 2 * i + 1 : half + i;
    for (int64_t p = 0; p < positions; ++p) {
      const double angle = static_cast<double>(p + first) * rate;
      table.data<float>()[p * width + sine] = static_cast<float>(std::sin(angle));
      table.data<float>()[p * width + cosine] = static_cast<float>(std::cos(angle));
    }
  }
  return table;
}

Tensor shifted(const Tensor& values, float amount) {
  const Tensor from = to_f32({.values = values});
  Tensor result = Tensor::empty(values.shape(), DType::f32);
  std::transform(from.data<float>(), from.data<float>() + from.elements(), result.data<float>(),
                 [amount](float value) { return value + amount; });
  return result;
}

Tensor forbidding_bias(const ModelFiles& model) {
  constexpr float kNever = -30000;  // no sum outweighs it, and half precision has it
  const TransformerConfig& config = model.config;
  std::vector<int32_t> forbidden = config.never_written;
  if (config.pad >= 0 && config.pad != config.eos) forbidden.push_back(config.pad);
  if (forbidden.empty()) return {};
  Tensor bias = Tensor::zeros({config.target_vocabulary}, DType::f32);
  if (const Parameter* given = model.parameters.find("final_logits_bias"); given != nullptr) {
    const Tensor values = to_f32(*given);
    std::copy_n(values.data<float>(), values.elements(), bias.data<float>());
  }
  for (const int32_t token : forbidden) bias.data<float>()[token] = kNever;
  return bias;
}

}  // namespace heddle::model
