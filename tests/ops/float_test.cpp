// Products of floats and row-wise operations against their definitions in double.
#include "heddle/ops/embedding.h"
#include "heddle/ops/norm.h"
#include "heddle/ops/ssru.h"
#include "tests/ops/cases.h"

namespace heddle::ops {
namespace {

using namespace cases;

TEST(FloatProduct, AgainstDouble) {
  constexpr int64_t kSizes[][3] = {{1, 64, 32}, {5, 33, 17}, {13, 7, 50}, {100, 20, 65}, {6, 1, 1}};
  for (const std::string& name : instruction_sets()) {
    for (const auto& [count, columns, rows] : kSizes) {
      for (const Precision precision : {Precision::f32, Precision::bf16}) {
        for (const Activation activation : kActivations) {
          Workspace workspace(name);
          const std::vector<float> weights = normal_values(rows * columns, 0.3, 1);
          const std::vector<float> bias = normal_values(rows, 1, 2);
          const Matrix matrix(Weight{tensor_of(weights, {rows, columns})}, precision, name);
          Rows x = rows_of(normal_values(count * columns, 1, 3), count, workspace);
          Rows residual = rows_of(normal_values(count * rows, 1, 4), count, workspace);
          Rows y(count, rows, workspace);
          linear(x, matrix, {bias.data(), activation, &residual}, y, workspace);
          std::vector<double> exact;
          for (int64_t r = 0; r < count; ++r) {
            for (int64_t n = 0; n < rows; ++n) {
              double sum = bias[static_cast<size_t>(n)];
              for (int64_t k = 0; k < columns; ++k) {
                float w = weights[static_cast<size_t>(n * columns + k)];
                if (precision == Precision::bf16) w = static_cast<float>(BFloat16(w));
                sum += static_cast<double>(x.row(r)[k]) * w;
              }
              exact.push_back(activated(activation, sum) + residual.row(r)[n]);
            }
          }
          expect_close(values_of(y), exact, 4e-6, name);
        }
      }
    }
  }
}

TEST(FloatProduct, ARowDoesNotDependOnTheOthers) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    const Matrix matrix(Weight{tensor_of(normal_values(70 * 96, 1, 6), {70, 96})},
                        Precision::native, name);
    Rows x = rows_of(normal_values(110 * 96, 1.5, 7), 110, workspace), y(110, 70, workspace);
    linear(x, matrix, {}, y, workspace);
    for (int64_t r = 0; r < 110; ++r) {
      Rows one(x.row(r), 1, 96, 96, workspace), its(1, 70, workspace);
      linear(one, matrix, {}, its, workspace);
      expect_same_bits(values_of(its), {y.row(r), y.row(r) + 70}, name);
    }
  }
}

TEST(FloatProduct, NanStaysInItsRow) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    const Matrix matrix(Weight{tensor_of(normal_values(20 * 8, 1, 6), {20, 8})}, Precision::f32,
                        name);
    Rows x = rows_of(normal_values(9 * 8, 1, 7), 9, workspace), y(9, 20, workspace);
    x.row(4)[3] = std::numeric_limits<float>::quiet_NaN();
    linear(x, matrix, {.activation = Activation::relu}, y, workspace);
    for (int64_t r = 0; r < 9; ++r) {
      for (int64_t n = 0; n < 20; ++n) EXPECT_EQ(std::isnan(y.row(r)[n]), r == 4) << name;
    }
  }
}

TEST(Elementwise, Activations) {
  std::vector<float> values = normal_values(1000, 3, 1);
  for (const float x : {0.0f, -0.0f, 1e-8f, -1e-8f, 30.0f, -30.0f, 90.0f, -90.0f, 1e30f, -1e30f}) {
    values.push_back(x);
  }
  for (const Activation activation : kActivations) {
    std::vector<double> exact;
    for (const float x : values) exact.push_back(activated(activation, x));
    std::vector<float> first;
    for (const std::string& name : instruction_sets()) {
      Workspace workspace(name);
      Rows x = rows_of(values, 1, workspace);
      activate(x, activation, workspace);
      if (first.empty()) first = values_of(x);
      expect_same_bits(values_of(x), first, name);
      expect_close(values_of(x), exact, 1e-6, str(name, ", ", static_cast<int>(activation)));
    }
  }
}

TEST(Elementwise, Glu) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    Rows x = rows_of(normal_values(4 * 2 * 19, 1, 1), 4, workspace), y(4, 19, workspace);
    glu(x, Activation::silu, {}, y, workspace);
    std::vector<double> exact;
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t f = 0; f < 19; ++f) {
        exact.push_back(activated(Activation::silu, x.row(r)[f]) * x.row(r)[19 + f]);
      }
    }
    expect_close(values_of(y), exact, 1e-6, name);
  }
}

std::vector<double> exact_norm(const Rows& x, const Rows* residual, const Norm& norm, bool mean) {
  std::vector<double> y;
  for (int64_t r = 0; r < x.count(); ++r) {
    std::vector<double> s;
    double total = 0, squares = 0;
    for (int64_t d = 0; d < x.width(); ++d) {
      s.push_back(x.row(r)[d] + (residual != nullptr ? residual->row(r)[d] : 0.0));
      total += s.back();
    }
    const auto width = static_cast<double>(x.width());
    const double middle = mean ? total / width : 0;
    for (const double value : s) squares += (value - middle) * (value - middle);
    const double factor = 1 / std::sqrt(squares / width + norm.epsilon);
    for (size_t d = 0; d < s.size(); ++d) {
      y.push_back((s[d] - middle) * factor * norm.weight[d] +
                  (norm.bias != nullptr ? norm.bias[d] : 0));
    }
  }
  return y;
}

TEST(Elementwise, Norms) {
  for (const int64_t width : {1, 16, 31, 256, 300}) {
    const std::vector<float> weight = normal_values(width, 1, 1), bias = normal_values(width, 1, 2);
    std::vector<float> first;
    for (const std::string& name : instruction_sets()) {
      Workspace workspace(name);
      Rows x = rows_of(normal_values(3 * width, 2, 3), 3, workspace);
      Rows residual = rows_of(normal_values(3 * width, 2, 4), 3, workspace);
      Rows y(3, width, workspace), codes(3, width, workspace);
      const Norm norm{weight.data(), bias.data(), 1e-5f};
      layer_norm(x, &residual, norm, {}, y, workspace);
      const std::vector<float> values = values_of(y);
      if (first.empty()) first = values;
      expect_same_bits(values, first, name);
      expect_close(values, exact_norm(x, &residual, norm, true), 1e-5, str(name, ", ", width));
      rms_norm(x, nullptr, {weight.data()}, {}, y, workspace);
      expect_close(values_of(y), exact_norm(x, nullptr, {weight.data()}, false), 1e-5, name);

      // In place, and codes at once: the same numbers.
      layer_norm(x, &residual, norm, {0.05f, true}, codes, workspace);
      layer_norm(x, &residual, norm, {}, x, workspace);
      expect_same_bits(values_of(x), first, name);
      const Codes made = x.codes(0.05f, workspace), written = codes.codes(0.05f, workspace);
      for (int64_t i = 0; i < 3 * made.stride; ++i)
        ASSERT_EQ(made.data[i], written.data[i]) << name;
    }
  }
}

TEST(Elementwise, Softmax) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    for (const int64_t width : {1, 5, 16, 100}) {
      std::vector<float> values = normal_values(2 * width, 5, 1);
      if (width > 5) values[3] = -std::numeric_limits<float>::infinity();
      Rows x = rows_of(values, 2, workspace), logs = rows_of(values, 2, workspace);
      std::vector<double> exact, exact_logs;
      for (int64_t r = 0; r < 2; ++r) {
        double sum = 0;
        for (int64_t i = 0; i < width; ++i) sum += std::exp(double{x.row(r)[i]});
        for (int64_t i = 0; i < width; ++i) exact.push_back(std::exp(double{x.row(r)[i]}) / sum);
        exact_logs.push_back(std::log(sum));
      }
      float sums[2], log_sums[2];
      softmax(x, sums, workspace);
      log_softmax(logs, log_sums, workspace);
      expect_close(values_of(x), exact, 1e-6, name);
      expect_close({sums, sums + 2}, exact_logs, 1e-6, name);
      expect_close({log_sums, log_sums + 2}, exact_logs, 1e-6, name);
      EXPECT_NEAR(logs.row(1)[0], std::log(exact[static_cast<size_t>(width)]), 1e-5);
    }
  }
}

TEST(Elementwise, SsruStepsEqualTheScan) {
  constexpr int64_t kWidth = 37;
  const std::vector<int32_t> offsets = {0, 3, 3, 8};
  std::vector<float> first;
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    Rows gates = rows_of(normal_values(8 * 2 * kWidth, 2, 1), 8, workspace);
    Rows out(8, kWidth, workspace);
    std::vector<float> last(3 * kWidth), cells(5 * kWidth, 0.0f);
    ssru_scan(gates, offsets, last.data(), out, workspace);
    if (first.empty()) first = values_of(out);
    expect_same_bits(values_of(out), first, name);
    const std::vector<int32_t> slots = {4, 1};  // sequences 0 and 2
    for (int64_t t = 0; t < 3; ++t) {
      Rows step(2, 2 * kWidth, workspace), y(2, kWidth, workspace);
      std::copy_n(gates.row(t), 2 * kWidth, step.row(0));
      std::copy_n(gates.row(3 + t), 2 * kWidth, step.row(1));
      ssru_step(step, cells.data(), slots, y, workspace);
      expect_same_bits({y.row(0), y.row(0) + kWidth}, {out.row(t), out.row(t) + kWidth}, name);
      expect_same_bits({y.row(1), y.row(1) + kWidth}, {out.row(3 + t), out.row(3 + t) + kWidth},
                       name);
    }
    std::vector<double> exact(last.size(), 0.0);
    for (size_t s = 0; s < 3; ++s) {
      for (int64_t t = offsets[s]; t < offsets[s + 1]; ++t) {
        for (size_t d = 0; d < kWidth; ++d) {
          const double f = activated(Activation::sigmoid, gates.row(t)[kWidth + d]);
          double& cell = exact[s * kWidth + d];
          cell = f * cell + (1 - f) * gates.row(t)[d];
        }
      }
    }
    expect_close(last, exact, 1e-6, name);
  }
}

TEST(Elementwise, Embedding) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    const std::vector<float> weights = normal_values(7 * 12, 1, 1);
    const Matrix table(Weight{tensor_of(weights, {7, 12})}, Precision::f32, name);
    const Tensor positions = sinusoidal_positions(5, 12);
    const std::vector<int32_t> tokens = {3, -1, 6}, places = {0, 4, 1};
    Rows y(3, 12, workspace);
    embed(tokens, table, 2, {positions.data<float>(), 5, places}, {}, y, workspace);
    for (size_t r = 0; r < 3; ++r) {
      for (size_t d = 0; d < 12; ++d) {
        const float value = tokens[r] < 0 ? 0 : weights[static_cast<size_t>(tokens[r]) * 12 + d];
        const double angle = places[r] / std::pow(10000.0, static_cast<double>(d % 6) / 5);
        const double wave = d < 6 ? std::sin(angle) : std::cos(angle);
        EXPECT_NEAR(y.row(static_cast<int64_t>(r))[d], 2 * value + wave, 1e-6);
      }
    }
    const std::vector<int32_t> bad = {7};
    Rows one(1, 12, workspace);
    EXPECT_THROW(embed(bad, table, 1, {}, {}, one, workspace), Error);
  }
}

TEST(Workspace, GivesBackAndGrows) {
  Workspace workspace;
  float* first = nullptr;
  for (int round = 0; round < 3; ++round) {
    const Workspace::Scope scope(workspace);
    first = workspace.take<float>(10);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
    first[9] = 7;
    {
      const Workspace::Scope inner(workspace);
      float* large = workspace.take<float>(3000000);
      large[2999999] = 1;
      EXPECT_EQ(first[9], 7);
    }
  }
  const size_t held = workspace.bytes();
  const Workspace::Scope scope(workspace);
  EXPECT_NE(workspace.take<float>(3000000), nullptr);
  EXPECT_EQ(workspace.bytes(), held);  // one block holds it all by now
}

}  // namespace
}  // namespace heddle::ops
