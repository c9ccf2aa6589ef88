// Checks an operation's gradients: its twin is written in double precision, plainly, and its slopes
// are taken by four-point differences.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "heddle/autograd/functions.h"
#include "heddle/base/random.h"
#include "heddle/ops/cpu/tables.h"

namespace heddle::autograd::cases {

using Numbers = std::vector<double>;

/// Names of the kernels that this processor can run.
inline std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const ops::cpu::Kernels* kernels : ops::cpu::all_kernels()) {
    if (kernels->supported()) names.emplace_back(kernels->name);
  }
  return names;
}

/// Normal numbers that single precision holds.
inline Numbers random_numbers(int64_t count, double spread, uint64_t seed) {
  Random random(seed);
  Numbers out;
  for (int64_t i = 0; i < count; ++i) {
    out.push_back(static_cast<double>(static_cast<float>(spread * random.normal())));
  }
  return out;
}

inline std::vector<float> floats(const Numbers& numbers) {
  return {numbers.begin(), numbers.end()};
}

inline Tensor tensor_of(const std::vector<float>& values, Shape shape) {
  Tensor tensor = Tensor::empty(shape, DType::f32);
  std::copy(values.begin(), values.end(), tensor.data<float>());
  return tensor;
}

/// Rows of a tape with these values.
inline ops::Rows rows_of(Tape& tape, const Numbers& values, int64_t count) {
  ops::Rows rows = tape.rows(count, static_cast<int64_t>(values.size()) / count);
  for (size_t i = 0; i < values.size(); ++i) rows.row(0)[i] = static_cast<float>(values[i]);
  return rows;
}

/// Gives y the gradient and goes back; then gradients of rows can be read.
inline void go_back(Tape& tape, const ops::Rows& y, const Numbers& d_y) {
  const ops::PlainRows to = tape.gradient(y);
  for (size_t i = 0; i < d_y.size(); ++i) to.values[i] = static_cast<float>(d_y[i]);
  tape.run_back_to(0);
}

inline std::vector<float> gradient_of(Tape& tape, const ops::Rows& rows) {
  const ops::PlainRows from = tape.gradient(rows);
  return {from.values, from.values + rows.count() * rows.width()};
}

inline std::vector<float> values_of(const ops::Rows& rows) {
  return {rows.row(0), rows.row(0) + rows.count() * rows.width()};
}

/// |found − exact| <= tolerance · (1 + largest |exact|).
inline void expect_close(const std::vector<float>& found, const Numbers& exact, double tolerance,
                         const std::string& name) {
  ASSERT_EQ(found.size(), exact.size()) << name;
  double largest = 0;
  for (const double value : exact) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_LE(std::abs(static_cast<double>(found[i]) - exact[i]), tolerance * (1 + largest))
        << name << ", element " << i << ": " << found[i] << " and " << exact[i];
  }
}

/// A function of some arrays, in double.
using Twin = std::function<Numbers(const std::vector<Numbers>&)>;

/// Compares gradients of Σ d_y · twin(inputs) with differences, at every element of small arrays
/// and at some of large ones.
inline void expect_slopes(const Twin& twin, std::vector<Numbers> inputs, const Numbers& d_y,
                          const std::vector<std::vector<float>>& gradients, double tolerance,
                          const std::string& name) {
  constexpr double kStep = 1e-3;
  const auto product = [&] {
    const Numbers y = twin(inputs);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * d_y[i];
    return sum;
  };
  for (size_t input = 0; input < gradients.size(); ++input) {
    Numbers& x = inputs[input];
    ASSERT_EQ(gradients[input].size(), x.size()) << name << ", input " << input;
    const size_t stride = std::max<size_t>(1, x.size() / 60) | 1u;
    for (size_t i = 0; i < x.size(); i += stride) {
      const double kept = x[i];
      const auto at = [&](double distance) {
        x[i] = kept + distance;
        return product();
      };
      const double near = at(kStep) - at(-kStep), far = at(2 * kStep) - at(-2 * kStep);
      const double slope = (8 * near - far) / (12 * kStep);
      x[i] = kept;
      ASSERT_NEAR(static_cast<double>(gradients[input][i]), slope,
                  tolerance * (1 + std::abs(slope)))
          << name << ", input " << input << ", element " << i;
    }
  }
}

/// The definition of each activation.
inline double activated(ops::Activation activation, double x) {
  switch (activation) {
    case ops::Activation::none:
      return x;
    case ops::Activation::relu:
      return x > 0 ? x : 0;
    case ops::Activation::gelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case ops::Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ops::Activation::silu:
      return x / (1 + std::exp(-x));
    case ops::Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case ops::Activation::tanh:
      return std::tanh(x);
  }
  return x;
}

inline constexpr ops::Activation kActivations[] = {
    ops::Activation::none,      ops::Activation::relu, ops::Activation::gelu,
    ops::Activation::gelu_tanh, ops::Activation::silu, ops::Activation::sigmoid,
    ops::Activation::tanh};

/// A tape with its workspaces, for one instruction set.
struct Room {
  explicit Room(const std::string& name) : values(name), gradients(name) {}
  ops::Workspace values, gradients;
  Tape tape{values, gradients};
};

}  // namespace heddle::autograd::cases
