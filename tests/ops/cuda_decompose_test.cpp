// The GPU's kernels of DoRA against their definition.
#include "heddle/ops/cuda/decompose.h"
#include "tests/ops/cuda_rows.h"

namespace heddle::ops::cuda {
namespace {

using Results = std::vector<std::vector<float>>;

TEST_F(OpsGpu, Gains) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{1, 8}, {7, 64}, {300, 1000}, {33, 4096}, {16, 14336}}) {
    const std::string name = str("gains [", rows, ", ", columns, "]");
    const HostRows weight = random_rows(rows, columns, 1);
    const std::vector<float> change = random_floats(rows * columns, 2, 0.3),
                             magnitude = random_floats(rows, 3, 0.2, 1);
    std::vector<float> gain, inverse;
    for (int64_t n = 0; n < rows; ++n) {
      double squares = 0;
      for (int64_t k = 0; k < columns; ++k) {
        const double sum =
            double{weight.row(n)[k]} + double{change[static_cast<size_t>(n * columns + k)]};
        squares += sum * sum;
      }
      inverse.push_back(static_cast<float>(1 / std::sqrt(squares)));
      gain.push_back(magnitude[static_cast<size_t>(n)] * inverse.back());
    }
    const Results found = twice(name, [&]() -> Results {
      const GpuRows w(weight, 0);
      const GpuArray<float> by(change), m(magnitude);
      const auto g = GpuArray<float>::blank(rows), i = GpuArray<float>::blank(rows);
      check_launch(launch_gains({.extent = {rows, columns},
                                 .weight = w.view().data,
                                 .change = by.data(),
                                 .magnitude = m.data(),
                                 .gain = g.data(),
                                 .inverse_length = i.data()},
                                gpu().stream()));
      return {g.read(name), i.read(name)};
    });
    expect_near(found[0], gain, 1e-5, 0, name);
    expect_near(found[1], inverse, 1e-5, 0, name + ", inverse");
  }
}

TEST_F(OpsGpu, Decompose) {
  for (const int64_t rows : {0, 1, 7, 333}) {
    for (const int64_t width : {8, 64, 1000, 4096}) {
      const std::string name = str("decompose [", rows, ", ", width, "]");
      const HostRows plain = random_rows(rows, width, 1), moved = random_rows(rows, width, 2),
                     d_y = random_rows(rows, width, 3);
      const std::vector<float> gain = random_floats(width, 4, 0.1, 1),
                               inverse = random_floats(width, 5, 0.1, 0.5);
      HostRows y = random_rows(rows, width, 6), d_plain(rows, width), d_moved(rows, width),
               slopes(rows, width);
      const HostRows before = y;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t n = 0; n < width; ++n) {
          const float g = gain[static_cast<size_t>(n)], d = d_y.row(r)[n];
          const float x = plain.row(r)[n], more = moved.row(r)[n];
          y.row(r)[n] += (g - 1) * x + g * more;
          d_plain.row(r)[n] = (g - 1) * d;
          d_moved.row(r)[n] = g * d;
          slopes.row(r)[n] = d * (x + more) * inverse[static_cast<size_t>(n)];
        }
      }
      const Results found = twice(name, [&]() -> Results {
        const GpuRows gpu_plain(plain), gpu_moved(moved), gpu_y(before), gpu_d(d_y),
            to_plain = GpuRows::blank(rows, width), to_slopes = GpuRows::blank(rows, width);
        const GpuArray<float> gpu_gain(gain), gpu_inverse(inverse);
        check_launch(launch_decompose({.extent = {rows, width},
                                       .plain = gpu_plain.view(),
                                       .moved = gpu_moved.view(),
                                       .y = gpu_y.view(),
                                       .gain = gpu_gain.data()},
                                      gpu().stream()));
        check_launch(launch_decompose_backward({.extent = {rows, width},
                                                .plain = gpu_plain.view(),
                                                .moved = gpu_moved.view(),
                                                .d_y = gpu_d.view(),
                                                .d_plain = to_plain.view(),
                                                .d_moved = gpu_moved.view(),  // in place
                                                .slopes = to_slopes.view(),
                                                .gain = gpu_gain.data(),
                                                .inverse_length = gpu_inverse.data()},
                                               gpu().stream()));
        return {gpu_y.read(name).values, to_plain.read(name).values, gpu_moved.read(name).values,
                to_slopes.read(name).values};
      });
      expect_near(found[0], y.values, 0x1p-8, 1e-5, name + ", y");
      expect_near(found[1], d_plain.values, 0x1p-8, 1e-6, name + ", d_plain");
      expect_near(found[2], d_moved.values, 0x1p-8, 1e-6, name + ", d_moved");
      expect_near(found[3], slopes.values, 0x1p-8, 1e-6, name + ", slopes");
    }
  }
}

}  // namespace
}  // namespace heddle::ops::cuda
