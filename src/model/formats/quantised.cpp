// Models in smaller types.
#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/base/half.h"
#include "heddle/model/formats/formats.h"
#include "heddle/ops/int8_rows.h"

namespace heddle::model {

namespace {

Parameter by_row(const Tensor& matrix) {
  const int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  Parameter result{Tensor::empty({rows, columns}, DType::i8), Tensor::empty({rows}, DType::f32)};
  for (int64_t row = 0; row < rows; ++row) {
    const std::span<const float> from(matrix.data<float>() + row * columns,
                                      static_cast<size_t>(columns));
    const float step = ops::int8_step(from);
    result.scales.data<float>()[row] = step;
    std::transform(
        from.begin(), from.end(), result.values.data<int8_t>() + row * columns,
        [step](float value) { return static_cast<int8_t>(ops::int8_level(value, step)); });
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
    const bool keep =
        !is_quantised(name, parameter.values.shape()) || found == type || found == DType::i8;
    parameters.add(name, keep ? parameter : converted(name, parameter, type));
  }
  model.parameters = std::move(parameters);
  return model;
}

}  // namespace heddle::model
