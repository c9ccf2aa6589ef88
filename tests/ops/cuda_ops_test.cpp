// The GPU's kernels of norms, elementwise functions, embeddings and SSRU against the CPU's, over
// the same numbers rounded to bf16.
#include "heddle/ops/dropout.h"
#include "heddle/ops/embedding.h"
#include "heddle/ops/norm.h"
#include "heddle/ops/ssru.h"
#include "tests/ops/cuda_rows.h"

namespace heddle::ops::cuda {
namespace {

using Results = std::vector<std::vector<float>>;

struct Size {
  int64_t rows, width;
};
constexpr Size kSizes[] = {{1, 8},    {333, 8},    {5000, 64}, {7, 128},   {333, 256},
                           {7, 512},  {5000, 512}, {7, 1000},  {1, 1024},  {333, 1024},
                           {7, 1032}, {33, 4096},  {5, 4104},  {3, 16384}, {0, 64}};

/// Every combination of five flags, in turn, so that neighbouring sizes differ in all of them.
struct Flags {
  bool mean, residual, dropout, bias, in_place;
  explicit Flags(int64_t turn) {
    const int64_t bits = turn * 11 % 32;
    mean = bits & 1, residual = bits & 2, dropout = bits & 4, bias = bits & 8, in_place = bits & 16;
  }
  std::string text() const {
    return str(mean ? "layer" : "rms", residual ? ", residual" : "", dropout ? ", dropout" : "",
               bias ? ", bias" : "", in_place ? ", in place" : "");
  }
};

struct Statistics {
  std::vector<float> mean, factor;
};

Statistics statistics_of(const HostRows& s, bool subtracts_mean, float epsilon) {
  Statistics out;
  for (int64_t r = 0; r < s.rows; ++r) {
    double mean = 0, square = 0;
    const auto width = static_cast<double>(s.width);
    for (int64_t n = 0; n < s.width; ++n) mean += static_cast<double>(s.row(r)[n]) / width;
    if (!subtracts_mean) mean = 0;
    for (int64_t n = 0; n < s.width; ++n) {
      const double distance = static_cast<double>(s.row(r)[n]) - mean;
      square += distance * distance / width;
    }
    out.mean.push_back(static_cast<float>(mean));
    out.factor.push_back(static_cast<float>(1 / std::sqrt(square + static_cast<double>(epsilon))));
  }
  return out;
}

void check_norm(const Size& size, const Flags& flags) {
  const std::string name = str("norm [", size.rows, ", ", size.width, "] ", flags.text());
  Workspace workspace;
  HostRows x = random_rows(size.rows, size.width, 1),
           residual = random_rows(size.rows, size.width, 2);
  for (float& value : residual.values) value = rounded(value * 2 + 1);
  const std::vector<float> weight = random_floats(size.width, 3, 0.2, 1);
  const std::vector<float> bias = random_floats(size.width, 4);
  const Dropout dropout = some_dropout(flags.dropout ? 0.3 : 0);
  const ops::Norm norm{weight.data(), flags.bias ? bias.data() : nullptr, 1e-5f};

  HostRows s = dropped(dropout, x), y(size.rows, size.width);
  if (flags.residual) {
    for (size_t i = 0; i < s.values.size(); ++i) s.values[i] += residual.values[i];
  }
  Rows s_rows = s.view(workspace), y_rows = y.view(workspace);
  (flags.mean ? layer_norm : rms_norm)(s_rows, nullptr, norm, {}, y_rows, workspace);
  const Statistics statistics = statistics_of(s, flags.mean, norm.epsilon);

  const bool keeps = flags.in_place;
  const Results found = twice(name, [&]() -> Results {
    const GpuRows gpu_x(x), gpu_residual(residual), gpu_y = GpuRows::blank(size.rows, size.width);
    const GpuArray<float> gpu_weight(weight), gpu_bias(bias);
    const auto mean = GpuArray<float>::blank(size.rows), factor = GpuArray<float>::blank(size.rows);
    const bool into_residual = flags.in_place && flags.residual;
    check_launch(launch_norm({.extent = {size.rows, size.width},
                              .x = gpu_x.view(),
                              .residual = flags.residual ? gpu_residual.view() : RowsView{},
                              .y = into_residual ? gpu_residual.view() : gpu_y.view(),
                              .dropout = dropout_key(dropout),
                              .keeps_sum = keeps,
                              .subtracts_mean = flags.mean,
                              .weight = gpu_weight.data(),
                              .bias = flags.bias ? gpu_bias.data() : nullptr,
                              .epsilon = norm.epsilon,
                              .mean = mean.data(),
                              .factor = factor.data()},
                             gpu().stream()));
    return {(into_residual ? gpu_residual : gpu_y).read(name).values, gpu_x.read(name).values,
            mean.read(name), factor.read(name)};
  });
  expect_near(found[0], y.values, 0x1p-8, 2e-5, name + ", y");
  expect_near(found[1], keeps ? s.values : x.values, keeps ? 0x1p-8 : 0, 1e-30, name + ", sum");
  expect_near(found[2], statistics.mean, 1e-5, 1e-5, name + ", mean");
  expect_near(found[3], statistics.factor, 1e-5, 1e-6, name + ", factor");
}

TEST_F(OpsGpu, Norm) {
  int64_t turn = 0;
  for (const Size& size : kSizes) {
    for (int i = 0; i < (size.rows < 1000 ? 8 : 3); ++i) check_norm(size, Flags(turn++));
  }
}

/// before[n] + factor · Σ_r rows[r, n].
std::vector<float> added(std::vector<float> before, const HostRows& rows, double factor) {
  for (size_t n = 0; n < before.size(); ++n) {
    double sum = 0;
    for (int64_t r = 0; r < rows.rows; ++r) sum += static_cast<double>(rows.row(r)[n]);
    before[n] += static_cast<float>(factor * sum);
  }
  return before;
}

void check_norm_backward(const Size& size, const Flags& flags, int64_t turn) {
  const bool wants_residual = turn % 5 != 1, wants_x = turn % 5 != 2 || !wants_residual;
  const bool adds_residual = turn % 2 == 0, adds_x = turn % 3 == 0;
  const bool sums_x = wants_x && turn % 4 < 2 && norm_backward_can_sum({size.rows, size.width});
  // d_y may be what is written.
  const bool d_y_is_residual = flags.in_place && wants_residual,
             d_y_is_x = flags.in_place && !wants_residual;
  const std::string name =
      str("norm backward [", size.rows, ", ", size.width, "] ", flags.text(),
          wants_residual ? adds_residual ? ", adds residual" : ", residual" : "",
          wants_x ? adds_x ? ", adds x" : ", x" : "", sums_x ? ", sums x" : "");
  Workspace workspace;
  HostRows s = random_rows(size.rows, size.width, 5, 3),
           d_y = random_rows(size.rows, size.width, 6);
  const HostRows before_residual = d_y_is_residual ? d_y : random_rows(size.rows, size.width, 7);
  const HostRows before_x = d_y_is_x ? d_y : random_rows(size.rows, size.width, 8);
  const std::vector<float> weight = random_floats(size.width, 9, 0.2, 1);
  const std::vector<float> d_weight_before = random_floats(size.width, 10);
  const Dropout dropout = some_dropout(flags.dropout ? 0.1 : 0);
  const Statistics statistics = statistics_of(s, flags.mean, 1e-5f);

  HostRows d_s(size.rows, size.width);
  std::vector<float> d_weight = d_weight_before, d_bias = d_weight_before;
  Rows s_rows = s.view(workspace);
  if (size.rows > 0) {
    (flags.mean ? layer_norm_backward : rms_norm_backward)(
        s_rows, nullptr, {weight.data(), nullptr, 1e-5f},
        {d_y.plain(), d_s.plain(), d_weight.data(), d_bias.data()}, workspace);
  }
  HostRows d_x = dropped(dropout, d_s);
  const std::vector<float> d_x_sums = sums_x ? added(d_weight_before, d_x, 1) : d_weight_before;
  for (size_t i = 0; i < d_s.values.size(); ++i) {
    if (adds_residual) d_s.values[i] += before_residual.values[i];
    if (adds_x) d_x.values[i] += before_x.values[i];
  }

  const Results found = twice(name, [&]() -> Results {
    const GpuRows sum(s), gpu_d_y(d_y), residual(before_residual), x(before_x);
    const GpuArray<float> gpu_weight(weight), mean(statistics.mean), factor(statistics.factor);
    const GpuArray<float> gpu_d_weight(d_weight_before), gpu_d_bias(d_weight_before);
    const GpuArray<float> gpu_d_x_sums(d_weight_before);
    const Extent extent{size.rows, size.width};
    const auto scratch = GpuArray<float>::blank(norm_backward_scratch(extent));
    check_launch(launch_norm_backward({.extent = extent,
                                       .sum = sum.view(),
                                       .d_y = d_y_is_residual ? residual.view()
                                              : d_y_is_x      ? x.view()
                                                              : gpu_d_y.view(),
                                       .d_residual = wants_residual ? residual.view() : RowsView{},
                                       .d_x = wants_x ? x.view() : RowsView{},
                                       .adds_residual = adds_residual,
                                       .adds_x = adds_x,
                                       .dropout = dropout_key(dropout),
                                       .subtracts_mean = flags.mean,
                                       .weight = gpu_weight.data(),
                                       .mean = mean.data(),
                                       .factor = factor.data(),
                                       .d_weight = gpu_d_weight.data(),
                                       .d_bias = flags.bias ? gpu_d_bias.data() : nullptr,
                                       .d_x_sums = sums_x ? gpu_d_x_sums.data() : nullptr,
                                       .scratch = scratch.data()},
                                      gpu().stream()));
    scratch.read(name + ", scratch");
    return {residual.read(name).values, x.read(name).values, gpu_d_weight.read(name),
            gpu_d_bias.read(name), gpu_d_x_sums.read(name)};
  });
  const std::vector<float>& expected_residual =
      wants_residual ? d_s.values : before_residual.values;
  expect_near(found[0], expected_residual, 0x1p-8, 2e-5, name + ", d_residual");
  expect_near(found[1], wants_x ? d_x.values : before_x.values, 0x1p-8, 2e-5, name + ", d_x");
  expect_sums(found[2], d_weight, size.rows, name + ", d_weight", 3);
  expect_sums(found[3], flags.bias ? d_bias : d_weight_before, size.rows, name + ", d_bias", 3);
  expect_sums(found[4], d_x_sums, size.rows, name + ", sums of d_x", 3);
}

TEST_F(OpsGpu, NormBackward) {
  int64_t turn = 0;
  for (const Size& size : kSizes) {
    for (int i = 0; i < (size.rows < 1000 ? 8 : 3); ++i, ++turn) {
      check_norm_backward(size, Flags(turn), turn);
    }
  }
}

TEST_F(OpsGpu, AddAndItsDropoutMasks) {
  int64_t turn = 0;
  for (const Size& size : kSizes) {
    for (const double probability : {0.0, 0.1, 0.999}) {
      const bool has_first = turn % 3 != 0;
      const int64_t target = turn++ % 3;  // a third row, the second, or the first when there is one
      const std::string name = str("add [", size.rows, ", ", size.width, "] p ", probability,
                                   ", first ", has_first, ", into ", target);
      const Dropout dropout = some_dropout(probability);
      const HostRows first = random_rows(size.rows, size.width, 11);
      const HostRows second = random_rows(size.rows, size.width, 12);
      const Results found = twice(name, [&]() -> Results {
        const GpuRows a(first), b(second), y = GpuRows::blank(size.rows, size.width);
        const GpuRows& to = target == 0 || (target == 2 && !has_first) ? y : target == 1 ? b : a;
        check_launch(launch_add({.extent = {size.rows, size.width},
                                 .first = has_first ? a.view() : RowsView{},
                                 .second = b.view(),
                                 .y = to.view(),
                                 .dropout = dropout_key(dropout)},
                                gpu().stream()));
        return {to.read(name).values};
      });
      HostRows expected = dropped(dropout, second);
      for (size_t i = 0; i < expected.values.size(); ++i) {
        if (has_first) expected.values[i] += first.values[i];
        expected.values[i] = rounded(expected.values[i]);
      }
      cases::expect_same_bits(found[0], expected.values, name);
    }
  }
}

TEST_F(OpsGpu, Activations) {
  Workspace workspace;
  for (const Activation activation : cases::kActivations) {
    for (const Size& size : {Size{333, 64}, Size{7, 1000}, Size{5, 4096}}) {
      for (const double probability : {0.0, 0.2}) {
        const std::string name = str("activation ", static_cast<int>(activation), " [", size.rows,
                                     ", ", size.width, "] p ", probability);
        const Dropout dropout = some_dropout(probability);
        HostRows x = random_rows(size.rows, size.width, 13, 3);
        x.row(0)[0] = 0, x.row(0)[1] = -90, x.row(0)[2] = 90, x.row(0)[3] = 1e-4f;
        // NaN stays NaN; the CPU keeps it where x is a factor.
        if (activation != Activation::sigmoid && activation != Activation::tanh) x.row(0)[4] = NAN;
        for (float& value : x.values) value = rounded(value);
        const HostRows d_y = random_rows(size.rows, size.width, 14);
        const std::vector<float> before = random_floats(size.width, 18);
        HostRows y = x, d_x = dropped(dropout, d_y);
        Rows x_rows = x.view(workspace), y_rows = y.view(workspace);
        activate(y_rows, activation, workspace);
        activate_backward(x_rows, activation, d_x.plain(), d_x.plain(), workspace);
        const HostRows result = y;
        y = dropped(dropout, y);
        const bool by_result = activation == Activation::relu && probability > 0;
        const bool in_place = probability > 0;
        const Results found = twice(name, [&]() -> Results {
          const GpuRows from(x), to = GpuRows::blank(size.rows, size.width);
          const GpuRows read(by_result ? result : x), d_from(d_y);
          const GpuRows d_to = GpuRows::blank(size.rows, size.width);
          const Extent extent{size.rows, size.width};
          const DropoutKey key = dropout_key(dropout);
          check_launch(
              launch_activate({extent, from.view(), (in_place ? from : to).view(), activation, key},
                              gpu().stream()));
          check_launch(
              launch_activate_backward({extent, read.view(), d_from.view(),
                                        (in_place ? d_from : d_to).view(), activation, key},
                                       gpu().stream()));
          const GpuRows again_from(d_y), again = GpuRows::blank(size.rows, size.width);
          const GpuArray<float> sums(before);
          const auto scratch = GpuArray<float>::blank(column_sums_scratch(extent));
          check_launch(launch_activate_backward(
              {extent, read.view(), again_from.view(), again.view(), activation, key},
              {extent, again.view(), 0.5f, sums.data(), scratch.data()}, gpu().stream()));
          return {(in_place ? from : to).read(name).values,
                  (in_place ? d_from : d_to).read(name).values, again.read(name).values,
                  sums.read(name)};
        });
        expect_near(found[0], y.values, 0x1p-8, 1e-6, name + ", y");
        expect_near(found[1], d_x.values, 0x1p-8, 1e-5, name + ", d_x");
        cases::expect_same_bits(found[2], found[1], name + ", d_x with sums");
        expect_sums(found[3], added(before, d_x, 0.5), size.rows, name + ", sums of d_x", 3);
      }
    }
  }
}

TEST_F(OpsGpu, Glu) {
  Workspace workspace;
  for (const Activation activation : cases::kActivations) {
    for (const Size& size : {Size{333, 64}, Size{7, 1000}, Size{5, 4096}}) {
      const double probability = size.width == 64 ? 0 : 0.2;
      const std::string name =
          str("glu ", static_cast<int>(activation), " [", size.rows, ", ", size.width, "]");
      const Dropout dropout = some_dropout(probability);
      HostRows x = random_rows(size.rows, 2 * size.width, 15, 2);
      const HostRows d_y = random_rows(size.rows, size.width, 16);
      HostRows y(size.rows, size.width), d_x(size.rows, 2 * size.width);
      HostRows d = dropped(dropout, d_y);
      Rows x_rows = x.view(workspace), y_rows = y.view(workspace);
      glu(x_rows, activation, {}, y_rows, workspace);
      glu_backward(x_rows, activation, d.plain(), d_x.plain(), workspace);
      y = dropped(dropout, y);
      const Results found = twice(name, [&]() -> Results {
        const GpuRows from(x), to = GpuRows::blank(size.rows, size.width), d_from(d_y);
        const GpuRows d_to = GpuRows::blank(size.rows, 2 * size.width, 16);
        const Extent extent{size.rows, size.width};
        const DropoutKey key = dropout_key(dropout);
        check_launch(launch_glu({extent, from.view(), to.view(), activation, key}, gpu().stream()));
        check_launch(launch_glu_backward(
            {extent, from.view(), d_from.view(), d_to.view(), activation, key}, gpu().stream()));
        return {to.read(name).values, d_to.read(name).values};
      });
      expect_near(found[0], y.values, 0x1p-8, 1e-5, name + ", y");
      expect_near(found[1], d_x.values, 0x1p-8, 1e-5, name + ", d_x");
    }
  }
}

TEST_F(OpsGpu, ColumnSums) {
  std::vector<Size> sizes(std::begin(kSizes), std::end(kSizes));
  sizes.push_back({70000, 8});
  sizes.push_back({9000, 2056});
  for (const Size& size : sizes) {
    const std::string name = str("column sums [", size.rows, ", ", size.width, "]");
    const HostRows x = random_rows(size.rows, size.width, 17);
    const std::vector<float> before = random_floats(size.width, 18);
    const std::vector<float> expected = added(before, x, 0.5);
    const Results found = twice(name, [&]() -> Results {
      const GpuRows rows(x);
      const GpuArray<float> sums(before);
      const Extent extent{size.rows, size.width};
      const auto scratch = GpuArray<float>::blank(column_sums_scratch(extent));
      check_launch(launch_column_sums({extent, rows.view(), 0.5f, sums.data(), scratch.data()},
                                      gpu().stream()));
      scratch.read(name + ", scratch");
      return {sums.read(name)};
    });
    expect_sums(found[0], expected, size.rows, name);
  }
}

TEST_F(OpsGpu, Turn) {
  constexpr int64_t kPositions = 50;
  for (const int64_t head_width : {8, 16, 24, 64, 128}) {
    for (const int64_t rows : {0, 1, 333}) {
      const int64_t heads = 3, width = (heads + 1) * head_width;  // the last one stays
      const std::string name = str("turn ", rows, " rows of ", head_width);
      const HostRows x = random_rows(rows, width, 19);
      const std::vector<float> table = random_floats(kPositions * head_width, 20);
      std::vector<int32_t> positions;
      for (int64_t r = 0; r < rows; ++r) {
        positions.push_back(static_cast<int32_t>(r * 7 % kPositions));
      }
      for (const float direction : {1.0f, -1.0f}) {
        HostRows expected = x;
        for (int64_t r = 0; r < rows; ++r) {
          const float* cosine = table.data() + positions[static_cast<size_t>(r)] * head_width;
          for (int64_t h = 0; h < heads; ++h) {
            float *a = expected.row(r) + h * head_width, *b = a + head_width / 2;
            for (int64_t i = 0; i < head_width / 2; ++i) {
              const float first = a[i], second = b[i], s = direction * cosine[head_width / 2 + i];
              a[i] = first * cosine[i] - second * s;
              b[i] = second * cosine[i] + first * s;
            }
          }
        }
        const Results found = twice(name, [&]() -> Results {
          const GpuRows turned(x);
          const GpuArray<int32_t> gpu_positions(positions);
          const GpuArray<float> gpu_table(table);
          check_launch(launch_turn({rows, heads, head_width, turned.view(), gpu_positions.data(),
                                    gpu_table.data(), direction},
                                   gpu().stream()));
          return {turned.read(name).values};
        });
        expect_near(found[0], expected.values, 0x1p-8, 1e-6, name);
      }
    }
  }
}

}  // namespace
}  // namespace heddle::ops::cuda
