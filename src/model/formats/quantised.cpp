// Models in smaller types.
#include <algorithm>
#include <cmath>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/base/half.h"
#include "heddle/model/formats/formats.h"

namespace heddle::model {

namespace {

/// One scale a row: the largest |w| becomes 127. A row of zeros has scale 1.
Parameter by_row(const Tensor& matrix) {
  const int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  Parameter result{Tensor::empty({rows, columns}, DType::i8), Tensor::empty({rows}, DType::f32)};
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = matrix.data<float>() + row * columns;
    float largest = 0;
    for (int64_t i = 0; i < columns; ++i) largest = std::max(largest, std::abs(from[i]));
    const float scale = largest > 0 ? largest / 127.0f : 1.0f;
    result.scales.data<float>()[row] = scale;
    int8_t* to = result.values.data<int8_t>() + row * columns;
    for (int64_t i = 0; i < columns; ++i) {
      const float level = std::nearbyint(from[i] / scale);
      to[i] = static_cast<int8_t>(std::clamp(level, -127.0f, 127.0f));
    }
  }
  return result;
}

template <typename Half>
Tensor narrowed(const Tensor& values) {
  Tensor result = Tensor::empty(values.shape(), dtype_of<Half>);
  const float* from = values.data<float>();
  std::transform(from, from + values.elements(), result.data<Half>(),
                 [](float value) { return Half(value); });
  return result;
}

Parameter converted(const std::string& name, const Parameter& parameter, DType type) {
  const Tensor values = to_f32(parameter);
  const auto* begin = values.data<float>();
  HEDDLE_CHECK(std::all_of(begin, begin + values.elements(),
                           [](float value) { return std::isfinite(value); }),
               "quantize: ", name, ": found a weight that is not finite; expected numbers");
  switch (type) {
    case DType::i8:
      return by_row(values);
    case DType::f16:
      return {narrowed<Float16>(values)};
    case DType::bf16:
      return {narrowed<BFloat16>(values)};
    default:
      return {values};
  }
}

}  // namespace

ModelFiles quantised(ModelFiles model, DType type) {
  const bool known =
      type == DType::i8 || type == DType::f16 || type == DType::bf16 || type == DType::f32;
  HEDDLE_CHECK(known, "quantize: found the type ", name_of(type), "; expected i8, f16, bf16, f32");
  Parameters parameters;
  for (const auto& [name, parameter] : model.parameters) {
    const DType found = parameter.values.dtype();
    // A position table is added, not multiplied: it stays as exact as it is.
    const bool matrix = parameter.values.rank() == 2 && !name.ends_with("embed_positions.weight");
    const bool keep = !matrix || found == type || found == DType::i8;
    parameters.add(name, keep ? parameter : converted(name, parameter, type));
  }
  model.parameters = std::move(parameters);
  return model;
}

}  // namespace heddle::model
