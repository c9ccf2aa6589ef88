// Matrices rounded to int8 on a GPU: the bits of the host.
#include "heddle/ops/int8_rows.h"
#include "tests/ops/cuda_rows.h"

namespace heddle::ops::cuda {
namespace {

TEST_F(OpsGpu, RoundRows) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{1, 1}, {3, 31}, {7, 32}, {33, 100}, {257, 512}, {5, 4096}}) {
    for (const float factor : {1.0f, 0.125f}) {
      const std::string name = str("round rows [", rows, ", ", columns, "] · ", factor);
      const Tensor from = Tensor::empty({rows, columns}, DType::f32);
      Tensor expected = Tensor::empty({rows, columns}, DType::f32);
      const std::vector<float> values = random_floats(rows * columns, 23);
      std::copy(values.begin(), values.end(), from.data<float>());
      if (rows > 1) std::fill_n(from.data<float>() + columns, columns, 0.0f);  // a row of zeros
      round_to_int8(from, expected);
      const GpuArray<float> on_gpu(std::span<const float>(from.data<float>(), values.size()));
      const auto to = GpuArray<BFloat16>::blank(rows * columns);
      check_launch(
          launch_round_rows({rows, columns, on_gpu.data(), factor, to.data()}, gpu().stream()));
      const std::vector<BFloat16> found = to.read(name);
      for (size_t i = 0; i < found.size(); ++i) {
        const float value = rounded(expected.data<float>()[i] * factor);
        ASSERT_EQ(static_cast<float>(found[i]), value) << name << ", " << i;
      }
    }
  }
}

}  // namespace
}  // namespace heddle::ops::cuda
