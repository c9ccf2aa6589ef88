// Shared by the tests of ops: the instruction sets of this machine, random rows and weights.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "heddle/base/random.h"
#include "heddle/ops/cpu/tables.h"
#include "heddle/ops/linear.h"

namespace heddle::ops::cases {

/// Names of the kernels that this processor can run.
inline std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const cpu::Kernels* kernels : cpu::all_kernels()) {
    if (kernels->supported()) names.emplace_back(kernels->name);
  }
  return names;
}

inline std::vector<float> normal_values(int64_t count, double spread, uint64_t seed) {
  Random random(seed);
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(spread * random.normal()));
  }
  return values;
}

inline Tensor tensor_of(const std::vector<float>& values, Shape shape) {
  Tensor tensor = Tensor::empty(shape, DType::f32);
  std::copy(values.begin(), values.end(), tensor.data<float>());
  return tensor;
}

inline Rows rows_of(const std::vector<float>& values, int64_t count, Workspace& workspace) {
  Rows rows(count, static_cast<int64_t>(values.size()) / count, workspace);
  std::copy(values.begin(), values.end(), rows.row(0));
  return rows;
}

inline std::vector<float> values_of(const Rows& rows) {
  std::vector<float> values;
  for (int64_t r = 0; r < rows.count(); ++r) {
    values.insert(values.end(), rows.row(r), rows.row(r) + rows.width());
  }
  return values;
}

/// The same bits, also of NaN and of the sign of 0.
inline void expect_same_bits(const std::vector<float>& found, const std::vector<float>& expected,
                             const std::string& name) {
  ASSERT_EQ(found.size(), expected.size()) << name;
  for (size_t i = 0; i < found.size(); ++i) {
    uint32_t a = 0, b = 0;
    std::memcpy(&a, &found[i], sizeof a);
    std::memcpy(&b, &expected[i], sizeof b);
    ASSERT_EQ(a, b) << name << ", element " << i << ": " << found[i] << " and " << expected[i];
  }
}

/// |found − exact| <= tolerance · (1 + |exact|); NaN must meet NaN.
inline void expect_close(const std::vector<float>& found, const std::vector<double>& exact,
                         double tolerance, const std::string& name) {
  ASSERT_EQ(found.size(), exact.size()) << name;
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(exact[i])) {
      ASSERT_TRUE(std::isnan(found[i])) << name << ", element " << i;
      continue;
    }
    ASSERT_LE(std::abs(found[i] - exact[i]), tolerance * (1 + std::abs(exact[i])))
        << name << ", element " << i << ": " << found[i] << " and " << exact[i];
  }
}

/// The definition of each activation, in double.
inline double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x > 0 || std::isnan(x) ? x : 0;
    case Activation::gelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::tanh:
      return std::tanh(x);
  }
  return x;
}

inline constexpr Activation kActivations[] = {
    Activation::none, Activation::relu,    Activation::gelu, Activation::gelu_tanh,
    Activation::silu, Activation::sigmoid, Activation::tanh};

}  // namespace heddle::ops::cases
