// The oracle itself: against formulas worked out by hand, against differences, and its edges.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "heddle/attention/attention.h"
#include "heddle/attention/table.h"
#include "heddle/base/random.h"
#include "heddle/mask/builders.h"

namespace heddle {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tensor random_tensor(Random& random, const Shape& shape) {
  Tensor tensor = Tensor::empty(shape, DType::f64);
  for (int64_t i = 0; i < shape.elements(); ++i) tensor.data<double>()[i] = random.normal();
  return tensor;
}

struct Sizes {
  int64_t rows = 7, keys = 9, heads = 4, kv_heads = 2, head_dim = 5, value_dim = 3;
};

/// A small problem in f64 with random inputs, and the gradient buffers beside it.
struct Problem {
  explicit Problem(const ColumnMask& its_mask, Sizes n = {}, uint64_t seed = 1) : mask(its_mask) {
    Random random(seed);
    args.q = random_tensor(random, {n.rows, n.heads, n.head_dim});         // [Tq, H, E]
    args.k = random_tensor(random, {n.keys, n.kv_heads, n.head_dim});      // [Tk, K, E]
    args.v = random_tensor(random, {n.keys, n.kv_heads, n.value_dim});     // [Tk, K, Ev]
    args.out = Tensor::zeros({n.rows, n.heads, n.value_dim}, DType::f64);  // [Tq, H, Ev]
    args.lse = Tensor::zeros({n.heads, n.rows}, DType::f64);               // [H, Tq]
    args.mask = &mask;
    gradients.d_out = random_tensor(random, args.out.shape());
    gradients.d_q = Tensor::zeros(args.q.shape(), DType::f64);
    gradients.d_k = Tensor::zeros(args.k.shape(), DType::f64);
    gradients.d_v = Tensor::zeros(args.v.shape(), DType::f64);
  }

  void add_sinks() {
    args.sinks = Tensor::zeros({args.q.dim(1)}, DType::f32);
    for (int64_t h = 0; h < args.q.dim(1); ++h) {
      args.sinks.data<float>()[h] = 0.5f * static_cast<float>(h) - 0.75f;
    }
    gradients.d_sinks = Tensor::zeros({args.q.dim(1)}, DType::f32);
  }
  void add_slopes() {
    args.alibi_slopes = Tensor::zeros({args.q.dim(1)}, DType::f32);
    for (int64_t h = 0; h < args.q.dim(1); ++h) {
      args.alibi_slopes.data<float>()[h] = std::exp2(-static_cast<float>(h));
    }
  }

  /// Σ out · d_out
  double loss() {
    attention::forward(args, "reference");
    double sum = 0;
    for (int64_t i = 0; i < args.out.elements(); ++i) {
      sum += args.out.data<double>()[i] * gradients.d_out.data<double>()[i];
    }
    return sum;
  }

  ColumnMask mask;
  attention::Args args;
  attention::Gradients gradients;
};

/// The derivative of f at 0 from four points; the error is of fourth order in the step.
double four_point(const std::function<double(double)>& f, double step) {
  return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step);
}

template <typename Number>
void expect_gradient(Problem& problem, const Tensor& values, const Tensor& gradient, double step,
                     double tolerance, const char* name) {
  for (int64_t i = 0; i < values.elements(); ++i) {
    const Number before = values.data<Number>()[i];
    const double expected = four_point(
        [&](double shift) {
          values.data<Number>()[i] = static_cast<Number>(before + shift);
          const double loss = problem.loss();
          values.data<Number>()[i] = before;
          return loss;
        },
        step);
    ASSERT_NEAR(static_cast<double>(gradient.data<Number>()[i]), expected, tolerance)
        << name << "[" << i << "]";
  }
}

void expect_gradients(Problem& problem) {
  problem.loss();
  attention::backward(problem.args, problem.gradients, "reference");
  const attention::Gradients& d = problem.gradients;
  expect_gradient<double>(problem, problem.args.q, d.d_q, 1e-3, 1e-9, "d_q");
  expect_gradient<double>(problem, problem.args.k, d.d_k, 1e-3, 1e-9, "d_k");
  expect_gradient<double>(problem, problem.args.v, d.d_v, 1e-3, 1e-9, "d_v");
  if (d.d_sinks.defined()) {
    expect_gradient<float>(problem, problem.args.sinks, d.d_sinks, 0x1p-8, 1e-6, "d_sinks");
  }
}

ColumnMask rectangular() { return masks::cross_document({3, 0, 4}, {4, 2, 3}); }

TEST(ReferenceGradients, Plain) {
  Problem problem(masks::full(7, 9));
  expect_gradients(problem);
}

TEST(ReferenceGradients, Masks) {
  for (const ColumnMask& mask :
       {rectangular(), masks::causal_with_offset(7, 9, 2), masks::causal_with_offset(7, 9, -2)}) {
    Problem problem(mask);
    expect_gradients(problem);
  }
}

TEST(ReferenceGradients, MaskByHead) {
  Problem problem(masks::random_eviction(6, 3, 2, 5),
                  {.rows = 6, .keys = 6, .heads = 4, .kv_heads = 2, .head_dim = 4, .value_dim = 4});
  expect_gradients(problem);
}

TEST(ReferenceGradients, Scale) {
  Problem problem(rectangular());
  problem.args.scale = 0.3;
  expect_gradients(problem);
}

TEST(ReferenceGradients, SoftCap) {
  Problem problem(rectangular());
  problem.args.softcap = 1.5;
  expect_gradients(problem);
}

TEST(ReferenceGradients, Sinks) {
  Problem problem(rectangular());
  problem.add_sinks();
  expect_gradients(problem);
}

TEST(ReferenceGradients, Alibi) {
  Problem problem(masks::causal_with_offset(7, 9, 2));
  problem.add_slopes();
  expect_gradients(problem);
}

TEST(ReferenceGradients, EverythingAtOnce) {
  Problem problem(masks::causal_with_offset(7, 9, -1));
  problem.add_sinks();
  problem.add_slopes();
  problem.args.softcap = 2;
  problem.args.scale = 0.7;
  expect_gradients(problem);
}

TEST(Reference, MatchesTheFormulaByHand) {
  // One head of dim 1, two keys: x = q·k · scale, weights by hand.
  Problem problem(masks::full(1, 2),
                  {.rows = 1, .keys = 2, .heads = 1, .kv_heads = 1, .head_dim = 1, .value_dim = 1});
  problem.args.q.data<double>()[0] = 2;
  problem.args.k.data<double>()[0] = 1;
  problem.args.k.data<double>()[1] = 3;
  problem.args.v.data<double>()[0] = 10;
  problem.args.v.data<double>()[1] = 20;
  problem.args.scale = 0.5;
  problem.loss();
  const double weight = 1 / (1 + std::exp(2.0));  // of the first key: x = 1 against x = 3
  EXPECT_NEAR(problem.args.out.data<double>()[0], 10 * weight + 20 * (1 - weight), 1e-14);
  EXPECT_NEAR(problem.args.lse.data<double>()[0], std::log(std::exp(1.0) + std::exp(3.0)), 1e-14);

  problem.args.softcap = 2;
  problem.add_sinks();
  problem.args.sinks.data<float>()[0] = 0.25f;
  problem.add_slopes();  // 1; the mask's offset is 0, so distances are 0 and 1
  problem.loss();
  const double a = std::exp(2 * std::tanh(0.5)), b = std::exp(2 * std::tanh(1.5) - 1);
  const double sum = a + b + std::exp(0.25);
  EXPECT_NEAR(problem.args.out.data<double>()[0], (10 * a + 20 * b) / sum, 1e-13);
  EXPECT_NEAR(problem.args.lse.data<double>()[0], std::log(sum), 1e-14);
}

TEST(Reference, RowsThatSeeNothingAreZero) {
  for (const bool sinks : {false, true}) {
    Problem problem(masks::valid_rows(7, 9, 4));
    if (sinks) problem.add_sinks();
    problem.loss();
    attention::backward(problem.args, problem.gradients);
    for (int64_t i = 4; i < 7; ++i) {
      for (int64_t h = 0; h < 4; ++h) {
        EXPECT_EQ(problem.args.lse.data<double>()[h * 7 + i], -kInfinity);
        for (int64_t e = 0; e < 3; ++e) {
          EXPECT_EQ(problem.args.out.data<double>()[(i * 4 + h) * 3 + e], 0);
        }
        for (int64_t e = 0; e < 5; ++e) {
          EXPECT_EQ(problem.gradients.d_q.data<double>()[(i * 4 + h) * 5 + e], 0);
        }
      }
    }
  }
}

TEST(Reference, WhatTheMaskHidesDoesNotLeak) {
  // Key 4 is hidden from every row; rows 5 and 6 see nothing.
  const ColumnMask mask({.query_length = 7, .key_length = 9, .lts = {5, 5, 5, 5, 0, 5, 5, 5, 5}});
  Problem clean(mask), poisoned(mask);
  for (int64_t e = 0; e < 2 * 5; ++e) poisoned.args.k.data<double>()[4 * 10 + e] = NAN;
  for (int64_t e = 0; e < 2 * 3; ++e) poisoned.args.v.data<double>()[4 * 6 + e] = kInfinity;
  for (int64_t e = 0; e < 4 * 5; ++e) poisoned.args.q.data<double>()[5 * 20 + e] = NAN;
  for (int64_t e = 0; e < 4 * 3; ++e) poisoned.gradients.d_out.data<double>()[6 * 12 + e] = NAN;
  for (Problem* problem : {&clean, &poisoned}) {
    attention::forward(problem->args);
    attention::backward(problem->args, problem->gradients);
  }
  const auto expect_equal = [](const Tensor& a, const Tensor& b) {
    for (int64_t i = 0; i < a.elements(); ++i) {
      ASSERT_EQ(a.data<double>()[i], b.data<double>()[i]) << i;
    }
  };
  expect_equal(clean.args.out, poisoned.args.out);
  expect_equal(clean.args.lse, poisoned.args.lse);
  expect_equal(clean.gradients.d_q, poisoned.gradients.d_q);
  expect_equal(clean.gradients.d_k, poisoned.gradients.d_k);
  expect_equal(clean.gradients.d_v, poisoned.gradients.d_v);
}

TEST(Reference, ReadsStridedViews) {
  // q, k, v as slices of one packed projection [T, H + K + K, E].
  Random random(3);
  const Tensor packed = random_tensor(random, {6, 4, 5});
  Problem problem(masks::causal(6),
                  {.rows = 6, .keys = 6, .heads = 2, .kv_heads = 1, .head_dim = 5, .value_dim = 5});
  const auto copy = [&](const Tensor& from, const Tensor& to) {
    for (int64_t i = 0; i < 6; ++i) {
      for (int64_t h = 0; h < from.dim(1); ++h) {
        for (int64_t e = 0; e < 5; ++e) {
          to.data<double>()[(i * to.dim(1) + h) * 5 + e] =
              from.data<double>()[i * from.stride(0) + h * from.stride(1) + e];
        }
      }
    }
  };
  const Tensor q = packed.slice(1, 0, 2), k = packed.slice(1, 2, 3), v = packed.slice(1, 3, 4);
  copy(q, problem.args.q);
  copy(k, problem.args.k);
  copy(v, problem.args.v);
  const double expected = problem.loss();
  problem.args.q = q;
  problem.args.k = k;
  problem.args.v = v;
  EXPECT_EQ(problem.loss(), expected);
}

TEST(Reference, TakesEveryFloatType) {
  const ColumnMask mask = masks::causal(4);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    attention::Args args;
    args.q = args.k = args.v = Tensor::zeros({4, 1, 2}, dtype);
    for (int64_t i = 0; i < 8; ++i) {
      const float value = 0.25f * static_cast<float>(i - 4);
      if (dtype == DType::f32) args.q.data<float>()[i] = value;
      if (dtype == DType::f16) args.q.data<Float16>()[i] = Float16(value);
      if (dtype == DType::bf16) args.q.data<BFloat16>()[i] = BFloat16(value);
    }
    args.out = Tensor::zeros({4, 1, 2}, dtype);
    args.lse = Tensor::zeros({1, 4}, DType::f32);
    args.mask = &mask;
    attention::forward(args);
    // Row 0 sees itself alone: out = v[0] = −1, lse = (1 + 0.5625) / sqrt(2).
    EXPECT_NEAR(args.lse.data<float>()[0], 1.5625 / std::sqrt(2.0), 1e-6);
    const float out = dtype == DType::f32   ? args.out.data<float>()[0]
                      : dtype == DType::f16 ? static_cast<float>(args.out.data<Float16>()[0])
                                            : static_cast<float>(args.out.data<BFloat16>()[0]);
    EXPECT_EQ(out, -1);
  }
}

TEST(Checks, SayWhatWasFoundAndExpected) {
  Problem problem(masks::full(7, 9));
  const auto error_of = [](const attention::Args& args, std::string_view name = {}) {
    try {
      attention::forward(args, name);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  attention::Args args = problem.args;
  args.k = Tensor::zeros({9, 2, 6}, DType::f64);
  EXPECT_EQ(error_of(args), "attention: k is f64 [9, 2, 6]; expected f64 [9, 2, 5]");
  args = problem.args;
  args.k = Tensor::zeros({9, 3, 5}, DType::f64);
  EXPECT_EQ(error_of(args),
            "attention: q has H=4 heads, k has K=3; expected H to be a multiple of K");
  args = problem.args;
  args.mask = nullptr;
  EXPECT_EQ(error_of(args),
            "attention: mask is not given; expected a ColumnMask. Hint: masks::full(Tq, Tk)");
  const ColumnMask other = masks::causal(9);
  args.mask = &other;
  EXPECT_EQ(error_of(args), "attention: mask is 9 × 9; expected Tq × Tk = 7 × 9");
  const ColumnMask by_head(
      {.query_length = 7, .key_length = 9, .heads = 3, .lts = std::vector<int32_t>(27, 4)});
  args.mask = &by_head;
  EXPECT_EQ(error_of(args), "attention: mask has 3 heads; expected 1 or K = 2");
  args = problem.args;
  args.out = Tensor::zeros({7, 4, 3}, DType::f32);
  EXPECT_EQ(error_of(args), "attention: out is f32 [7, 4, 3]; expected f64 [7, 4, 3]");
  args = problem.args;
  args.softcap = -1;
  EXPECT_EQ(error_of(args), "attention: softcap is -1; expected a finite number, 0 or more");
  args = problem.args;
  args.scale = kInfinity;
  EXPECT_EQ(error_of(args), "attention: scale is inf; expected a finite number");
  args = problem.args;
  args.sinks = Tensor::zeros({2}, DType::f32);
  EXPECT_EQ(error_of(args), "attention: sinks is f32 [2]; expected f32 [4]");
  args = problem.args;
  args.v = Tensor::wrap(args.v.raw(), {9, 2, 3}, {6, 1, 2}, DType::f64);
  EXPECT_EQ(error_of(args), "attention: innermost stride of v is 2; expected 1");
  EXPECT_TRUE(error_of(problem.args, "abacus")
                  .starts_with("attention: found no implementation abacus; expected one of "));
  EXPECT_TRUE(error_of(problem.args, "abacus").ends_with("reference"));

  problem.add_sinks();
  problem.gradients.d_sinks = {};
  EXPECT_THROW(attention::backward(problem.args, problem.gradients), Error);
  Problem mixed(masks::full(7, 9));
  mixed.gradients.d_k = Tensor::zeros({9, 2, 4}, DType::f64);
  EXPECT_THROW(attention::backward(mixed.args, mixed.gradients), Error);
}

TEST(Checks, RefuseBadSizesAndTypes) {
  const auto refuses = [](Sizes n) {
    Problem problem(masks::full(n.rows, n.keys), n);
    EXPECT_THROW(attention::forward(problem.args), Error);
  };
  refuses({.head_dim = 257});
  refuses({.value_dim = 257});
  Problem problem(masks::full(7, 9));
  problem.args.q = Tensor::zeros({7, 4, 5}, DType::i32);
  EXPECT_THROW(attention::forward(problem.args), Error);
  problem.args.q = Tensor::zeros({7, 20}, DType::f64);
  EXPECT_THROW(attention::forward(problem.args), Error);
}

TEST(Table, EndsWithTheReference) {
  EXPECT_EQ(attention::implementations().back().name, "reference");
}

}  // namespace
}  // namespace heddle
