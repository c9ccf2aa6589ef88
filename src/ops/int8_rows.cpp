#include "heddle/ops/int8_rows.h"

#include "heddle/base/error.h"

namespace heddle::ops {

void round_to_int8(const Tensor& from, Tensor& to) {
  HEDDLE_CHECK(from.rank() == 2 && from.shape() == to.shape(), "round_to_int8: found ",
               from.shape().text(), " and ", to.shape().text(),
               "; expected two matrices of one shape");
  const int64_t columns = from.dim(1);
  for (int64_t i = 0; i < from.dim(0); ++i) {
    const std::span<const float> row(from.data<float>() + i * columns,
                                     static_cast<size_t>(columns));
    const float step = int8_step(row);
    std::transform(row.begin(), row.end(), to.data<float>() + i * columns,
                   [step](float value) { return int8_level(value, step) * step; });
  }
}

}  // namespace heddle::ops
