// Every recorded operation against its twin in double precision.
#include "tests/autograd/gradient_check.h"

namespace heddle::autograd {
namespace {

using namespace cases;

struct LinearShape {
  int64_t count, in;
  std::vector<int64_t> parts;
  bool residual;
};

/// y = act(x · Wᵀ + b) + residual with W and b of parts, each times a factor; the first part has no
/// bias. Inputs: x, residual, then weight and bias of each part.
Numbers linear_twin(const LinearShape& shape, ops::Activation activation,
                    const std::vector<double>& factors, const std::vector<Numbers>& in) {
  Numbers y;
  for (int64_t r = 0; r < shape.count; ++r) {
    for (size_t p = 0; p < shape.parts.size(); ++p) {
      const Numbers &weight = in[2 + 2 * p], &bias = in[3 + 2 * p];
      for (int64_t n = 0; n < shape.parts[p]; ++n) {
        double sum = bias.empty() ? 0 : factors[p] * bias[static_cast<size_t>(n)];
        for (int64_t k = 0; k < shape.in; ++k) {
          sum += factors[p] * weight[static_cast<size_t>(n * shape.in + k)] *
                 in[0][static_cast<size_t>(r * shape.in + k)];
        }
        y.push_back(activated(activation, sum) + (shape.residual ? in[1][y.size()] : 0));
      }
    }
  }
  return y;
}

void check_linear(const std::string& name, const LinearShape& shape, ops::Activation activation) {
  Room room(name);
  Tape& tape = room.tape;
  const std::vector<double> factors{1.5, 1, 0.25};
  int64_t width = 0;
  for (const int64_t part : shape.parts) width += part;
  std::vector<Numbers> inputs{random_numbers(shape.count * shape.in, 1, 1),
                              random_numbers(shape.count * width, 1, 2)};
  std::vector<std::vector<float>> values, gradients;
  std::vector<ops::Weight> folded;
  std::vector<float> bias;
  for (size_t p = 0; p < shape.parts.size(); ++p) {
    const int64_t rows = shape.parts[p];
    inputs.push_back(random_numbers(rows * shape.in, 0.3, 3 + p));
    inputs.push_back(p == 0 ? Numbers{} : random_numbers(rows, 1, 9 + p));
    values.push_back(floats(inputs[2 + 2 * p]));
    std::vector<float> scaled = values.back();
    for (float& value : scaled) value *= static_cast<float>(factors[p]);
    folded.push_back({tensor_of(scaled, {rows, shape.in})});
    for (int64_t n = 0; n < rows; ++n) {
      bias.push_back(
          p == 0 ? 0 : static_cast<float>(factors[p] * inputs[3 + 2 * p][static_cast<size_t>(n)]));
    }
    gradients.emplace_back(inputs[2 + 2 * p].size(), 1.0f);  // what is there stays and is added to
    gradients.emplace_back(inputs[3 + 2 * p].size(), 1.0f);
  }
  std::vector<ops::LinearWeight> weights;
  for (size_t p = 0; p < shape.parts.size(); ++p) {
    const auto factor = static_cast<float>(factors[p]);
    weights.push_back({values[p].data(), shape.parts[p], factor, gradients[2 * p].data(),
                       p == 0 ? nullptr : gradients[2 * p + 1].data(), factor});
  }
  const ops::Matrix matrix = ops::Matrix::stack(folded, ops::Precision::f32, name);
  const ops::Rows x = rows_of(tape, inputs[0], shape.count);
  const ops::Rows residual = rows_of(tape, inputs[1], shape.count);
  ops::Rows y = tape.rows(shape.count, width);
  linear(tape, x, {matrix, bias.data(), weights}, activation, shape.residual ? &residual : nullptr,
         y);
  const Twin twin = [&](const std::vector<Numbers>& in) {
    return linear_twin(shape, activation, factors, in);
  };
  expect_close(values_of(y), twin(inputs), 1e-5, name);
  const Numbers d_y = random_numbers(shape.count * width, 1, 20);
  go_back(tape, y, d_y);
  for (auto& gradient : gradients) {
    for (float& value : gradient) value -= 1;
  }
  gradients.insert(gradients.begin(), {gradient_of(tape, x), gradient_of(tape, residual)});
  expect_slopes(twin, inputs, d_y, gradients, 3e-5, name);
}

TEST(Linear, GradientsOfParts) {
  for (const std::string& name : instruction_sets()) {
    for (const ops::Activation activation : kActivations) {
      if (activation == ops::Activation::relu) continue;  // a kink; see Activations
      check_linear(name, {5, 7, {9, 4}, activation == ops::Activation::none}, activation);
    }
    check_linear(name, {1, 1, {1}, false}, ops::Activation::none);
    check_linear(name, {13, 33, {16, 17, 1}, true}, ops::Activation::none);
  }
}

/// More rows, inputs and outputs than one block of a product holds.
TEST(Linear, GradientsOfManyBlocks) {
  for (const std::string& name : instruction_sets()) {
    check_linear(name, {300, 20, {5, 3}, true}, ops::Activation::none);
    check_linear(name, {7, 20, {200, 290}, false}, ops::Activation::none);
    check_linear(name, {110, 70, {9}, false}, ops::Activation::none);
  }
}

/// y = norm(x + residual) · w + b.
Numbers norm_twin(int64_t count, bool layer, double epsilon, const std::vector<Numbers>& in) {
  const size_t width = in[0].size() / static_cast<size_t>(count);
  const auto size = static_cast<double>(width);
  Numbers y;
  for (size_t r = 0; r < static_cast<size_t>(count); ++r) {
    Numbers s(width);
    double mean = 0, square = 0;
    for (size_t i = 0; i < width; ++i) {
      s[i] = in[0][r * width + i] + (in[1].empty() ? 0 : in[1][r * width + i]);
      mean += layer ? s[i] / size : 0;
    }
    for (const double value : s) square += (value - mean) * (value - mean) / size;
    for (size_t i = 0; i < width; ++i) {
      const double n = (s[i] - mean) / std::sqrt(square + epsilon);
      y.push_back(n * in[2][i] + (in[3].empty() ? 0 : in[3][i]));
    }
  }
  return y;
}

TEST(Norm, Gradients) {
  constexpr int64_t kCount = 6;
  for (const std::string& name : instruction_sets()) {
    for (const int64_t width : {4, 19, 48}) {
      for (int options = 0; options < 8; ++options) {
        const bool layer = (options & 1) != 0, sums = (options & 2) != 0,
                   biased = (options & 4) != 0;
        Room room(name);
        Tape& tape = room.tape;
        const std::vector<Numbers> inputs{random_numbers(kCount * width, 1, 1),
                                          sums ? random_numbers(kCount * width, 1, 2) : Numbers{},
                                          random_numbers(width, 1, 3),
                                          biased ? random_numbers(width, 1, 4) : Numbers{}};
        const std::vector<float> weight = floats(inputs[2]), bias = floats(inputs[3]);
        std::vector<float> d_weight(weight.size()), d_bias(bias.size());
        const ops::Rows x = rows_of(tape, inputs[0], kCount);
        ops::Rows y = sums ? rows_of(tape, inputs[1], kCount) : tape.rows(kCount, width);
        const ops::Rows residual = y;
        if (sums) tape.record(y, [](Tape&) {});  // written: the norm may not overwrite it
        norm(tape, x, sums ? &y : nullptr,
             {.norm = {weight.data(), biased ? bias.data() : nullptr, 1e-3f},
              .subtracts_mean = layer,
              .d_weight = d_weight.data(),
              .d_bias = biased ? d_bias.data() : nullptr},
             y);
        const Twin twin = [&](const std::vector<Numbers>& in) {
          return norm_twin(kCount, layer, 1e-3, in);
        };
        expect_close(values_of(y), twin(inputs), 1e-5, name);
        const Numbers d_y = random_numbers(kCount * width, 1, 5);
        const ops::PlainRows to = tape.gradient(y);
        for (size_t i = 0; i < d_y.size(); ++i) to.values[i] = static_cast<float>(d_y[i]);
        tape.run_back_to(sums ? 1 : 0);
        expect_slopes(twin, inputs, d_y,
                      {gradient_of(tape, x),
                       sums ? gradient_of(tape, residual) : std::vector<float>{}, d_weight, d_bias},
                      3e-5, name);
      }
    }
  }
}

/// y = x with each head of the queries and of the keys normed by itself. Inputs: x, both weights.
Numbers norm_heads_twin(int64_t count, const std::array<ops::HeadNorm, 2>& norms, double epsilon,
                        const std::vector<Numbers>& in) {
  Numbers y = in[0];
  const int64_t width = static_cast<int64_t>(y.size()) / count;
  for (int64_t r = 0; r < count; ++r) {
    for (size_t i = 0; i < norms.size(); ++i) {
      for (int64_t h = 0; h < norms[i].heads; ++h) {
        const auto first = static_cast<size_t>(r * width + norms[i].first + h * norms[i].width);
        const auto head = static_cast<size_t>(norms[i].width);
        double square = 0;
        for (size_t e = 0; e < head; ++e) square += in[0][first + e] * in[0][first + e];
        for (size_t e = 0; e < head; ++e) {
          y[first + e] *= in[1 + i][e] / std::sqrt(square / static_cast<double>(head) + epsilon);
        }
      }
    }
  }
  return y;
}

TEST(Norm, GradientsOfHeads) {
  constexpr int64_t kCount = 5, kQueries = 3, kKeys = 2;
  for (const std::string& name : instruction_sets()) {
    for (const int64_t head : {2, 12, 16}) {
      Room room(name);
      Tape& tape = room.tape;
      const int64_t width = (kQueries + 2 * kKeys) * head;  // queries | keys | values
      const std::vector<Numbers> inputs{random_numbers(kCount * width, 1, 1),
                                        random_numbers(head, 1, 2), random_numbers(head, 1, 3)};
      const std::vector<float> weights[] = {floats(inputs[1]), floats(inputs[2])};
      std::vector<float> d_queries(weights[0].size()), d_keys(weights[1].size());
      const auto norm_of = [&](int64_t first, int64_t heads, const std::vector<float>& weight) {
        return ops::HeadNorm{.first = first,
                             .heads = heads,
                             .width = head,
                             .norm = {.weight = weight.data(), .epsilon = 1e-3f}};
      };
      const std::array norms{norm_of(0, kQueries, weights[0]),
                             norm_of(kQueries * head, kKeys, weights[1])};
      const ops::Rows x = rows_of(tape, inputs[0], kCount);
      ops::Rows y = tape.rows(kCount, width);
      norm_heads(tape, x, {.norms = norms, .d_weights = {d_queries.data(), d_keys.data()}}, y);
      const Twin twin = [&](const std::vector<Numbers>& in) {
        return norm_heads_twin(kCount, norms, 1e-3, in);
      };
      expect_close(values_of(y), twin(inputs), 1e-5, name);
      ops::Rows in_place = rows_of(tape, inputs[0], kCount);
      ops::norm_heads(in_place, norms, in_place, room.values);
      EXPECT_EQ(values_of(in_place), values_of(y));
      const Numbers d_y = random_numbers(kCount * width, 1, 4);
      go_back(tape, y, d_y);
      expect_slopes(twin, inputs, d_y, {gradient_of(tape, x), d_queries, d_keys}, 3e-5, name);
    }
  }
}

/// NU-11: constant rows, tiny and huge ones, one number far above the others.
TEST(Norm, GradientsOfExtremeRowsAreFinite) {
  for (const std::string& name : instruction_sets()) {
    for (const bool layer : {true, false}) {
      for (const double scale : {0.0, 1e-30, 1e15, 1e18}) {
        Room room(name);
        Tape& tape = room.tape;
        Numbers x(20, scale);
        if (scale > 1) x[3] = 0;
        const std::vector<float> weight(20, 1.0f);
        std::vector<float> d_weight(20);
        const ops::Rows in = rows_of(tape, x, 1);
        ops::Rows y = tape.rows(1, 20);
        norm(tape, in, nullptr,
             {.norm = {weight.data(), nullptr, 1e-5f},
              .subtracts_mean = layer,
              .d_weight = d_weight.data(),
              .d_bias = nullptr},
             y);
        go_back(tape, y, random_numbers(20, 1, 5));
        for (const float value : gradient_of(tape, in)) ASSERT_TRUE(std::isfinite(value)) << scale;
        for (const float value : d_weight) ASSERT_TRUE(std::isfinite(value)) << scale;
      }
    }
  }
}

TEST(Activations, Gradients) {
  for (const std::string& name : instruction_sets()) {
    for (const ops::Activation activation : kActivations) {
      Numbers x = random_numbers(57, 2, 1);
      for (const double far : {9.0, -9.0, 30.0, -30.0}) x.push_back(far);
      for (double& value : x) {
        if (std::abs(value) < 0.01) value = 0.5;  // away from the kink
      }
      Room room(name);
      const ops::Rows in = rows_of(room.tape, x, 1);
      ops::Rows y = in;
      room.tape.record(in, [](Tape&) {});
      activate(room.tape, in, activation, y);
      EXPECT_NE(y.row(0), in.row(0));
      const Twin twin = [&](const std::vector<Numbers>& inputs) {
        Numbers out;
        for (const double value : inputs[0]) out.push_back(activated(activation, value));
        return out;
      };
      expect_close(values_of(y), twin({x}), 1e-6, name);
      const Numbers d_y = random_numbers(std::ssize(x), 1, 2);
      const ops::PlainRows to = room.tape.gradient(y);
      for (size_t i = 0; i < d_y.size(); ++i) to.values[i] = static_cast<float>(d_y[i]);
      room.tape.run_back_to(1);
      expect_slopes(twin, {x}, d_y, {gradient_of(room.tape, in)}, 3e-6, name);
    }
  }
}

TEST(Glu, Gradients) {
  constexpr int64_t kCount = 3, kWidth = 21;
  for (const std::string& name : instruction_sets()) {
    for (const ops::Activation activation : kActivations) {
      Numbers x = random_numbers(kCount * 2 * kWidth, 1.5, 1);
      for (double& value : x) value = std::abs(value) < 0.01 ? 0.5 : value;
      Room room(name);
      const ops::Rows in = rows_of(room.tape, x, kCount);
      ops::Rows y = room.tape.rows(kCount, kWidth);
      glu(room.tape, in, activation, y);
      const Twin twin = [&](const std::vector<Numbers>& inputs) {
        Numbers out;
        for (size_t i = 0; i < kCount * kWidth; ++i) {
          const size_t at = i / kWidth * 2 * kWidth + i % kWidth;
          out.push_back(activated(activation, inputs[0][at]) * inputs[0][at + kWidth]);
        }
        return out;
      };
      expect_close(values_of(y), twin({x}), 1e-6, name);
      const Numbers d_y = random_numbers(kCount * kWidth, 1, 2);
      go_back(room.tape, y, d_y);
      expect_slopes(twin, {x}, d_y, {gradient_of(room.tape, in)}, 5e-6, name);
    }
  }
}

}  // namespace
}  // namespace heddle::autograd
