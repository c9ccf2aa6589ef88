// What implementations in f32 are held against: the definition in double, and a plain twin in f32
// whose error says what f32 costs. Rule: |found − oracle| <= 2 · |twin − oracle| + a little.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "heddle/attention/table.h"
#include "tests/cases/attention_cases.h"

namespace heddle::cases {

inline Tensor widened(const Tensor& tensor) {
  if (!tensor.defined()) return {};
  Tensor wide = Tensor::empty(tensor.shape(), DType::f64);
  double* to = wide.data<double>();
  for (int64_t t = 0; t < tensor.dim(0); ++t) {
    for (int64_t h = 0; h < tensor.dim(1); ++h) {
      const float* row = tensor.data<float>() + t * tensor.stride(0) + h * tensor.stride(1);
      to = std::copy(row, row + tensor.dim(2), to);
    }
  }
  return wide;
}

/// out, lse, d_q, d_k, d_v, d_sinks as rows of numbers in one order.
struct Results {
  std::vector<std::vector<double>> values;
  static constexpr const char* kNames[] = {"out", "lse", "d_q", "d_k", "d_v", "d_sinks"};
};

template <typename Number>
std::vector<double> numbers_of(const Tensor& tensor) {
  std::vector<double> numbers;
  if (!tensor.defined()) return numbers;
  const int64_t width = tensor.dim(tensor.rank() - 1);
  const int64_t outer = tensor.rank() > 1 ? tensor.dim(0) : 1;
  const int64_t inner = tensor.rank() > 2 ? tensor.dim(1) : 1;
  for (int64_t a = 0; a < outer; ++a) {
    for (int64_t b = 0; b < inner; ++b) {
      const int64_t at = (tensor.rank() > 1 ? a * tensor.stride(0) : 0) +
                         (tensor.rank() > 2 ? b * tensor.stride(1) : 0);
      for (int64_t e = 0; e < width; ++e) numbers.push_back(tensor.data<Number>()[at + e]);
    }
  }
  return numbers;
}

template <typename Number>
Results results_of(const attention::Args& args, const attention::Gradients& gradients) {
  return {{numbers_of<Number>(args.out), numbers_of<Number>(args.lse),
           numbers_of<Number>(gradients.d_q), numbers_of<Number>(gradients.d_k),
           numbers_of<Number>(gradients.d_v), numbers_of<float>(gradients.d_sinks)}};
}

inline Results oracle(const AttentionProblem& problem) {
  attention::Args args = problem.args;
  attention::Gradients gradients = problem.gradients;
  args.q = widened(args.q);
  args.k = widened(args.k);
  args.v = widened(args.v);
  args.out = widened(args.out);
  args.lse = Tensor::empty(args.lse.shape(), DType::f64);
  gradients.d_out = widened(gradients.d_out);
  gradients.d_q = widened(gradients.d_q);
  gradients.d_k = widened(gradients.d_k);
  gradients.d_v = widened(gradients.d_v);
  if (gradients.d_sinks.defined())
    gradients.d_sinks = Tensor::zeros(args.sinks.shape(), DType::f32);
  attention::forward(args, "reference");
  attention::backward(args, gradients, "reference");
  return results_of<double>(args, gradients);
}

/// The formulas of attention.h as plain loops in f32, a row at a time.
class Twin {
 public:
  explicit Twin(const AttentionProblem& problem)
      : args_(problem.args),
        gradients_(problem.gradients),
        scale_(static_cast<float>(attention::scale_of(problem.args))) {
    args_.out = Tensor::zeros(args_.out.shape(), DType::f32);
    args_.lse = Tensor::zeros(args_.lse.shape(), DType::f32);
    gradients_.d_q = Tensor::zeros(args_.q.shape(), DType::f32);
    gradients_.d_k = Tensor::zeros(args_.k.shape(), DType::f32);
    gradients_.d_v = Tensor::zeros(args_.v.shape(), DType::f32);
    if (args_.sinks.defined()) gradients_.d_sinks = Tensor::zeros(args_.sinks.shape(), DType::f32);
    for (int64_t head = 0; head < args_.q.dim(1); ++head) {
      for (int32_t i = 0; i < args_.mask->query_length(); ++i) run_row(head, i);
    }
  }

  Results results() const { return results_of<float>(args_, gradients_); }

 private:
  static float* row(const Tensor& tensor, int64_t t, int64_t head) {
    return tensor.data<float>() + t * tensor.stride(0) + head * tensor.stride(1);
  }
  static float dot(const float* a, const float* b, int64_t n) {
    float sum = 0;
    for (int64_t e = 0; e < n; ++e) sum += a[e] * b[e];
    return sum;
  }
  static void add(float* to, float factor, const float* from, int64_t n) {
    for (int64_t e = 0; e < n; ++e) to[e] += factor * from[e];
  }

  struct Pair {
    int32_t key;
    float weight, slope;
  };

  /// The visible keys of the row with their scores as weights; returns the largest score.
  float scores(int64_t head, int64_t kv, int32_t i) {
    const MaskView mask = args_.mask->view();
    const float cap = static_cast<float>(args_.softcap);
    float largest = -std::numeric_limits<float>::infinity();
    pairs_.clear();
    for (int32_t j = 0; j < mask.key_length; ++j) {
      if (!allowed(mask, mask_head(mask, static_cast<int32_t>(kv)), i, j)) continue;
      float x = scale_ * dot(row(args_.q, i, head), row(args_.k, j, kv), args_.q.dim(2));
      float slope = 1;
      if (cap > 0) {
        const float t = std::tanh(x / cap);
        x = cap * t;
        slope = 1 - t * t;
      }
      if (args_.alibi_slopes.defined()) {
        x -= args_.alibi_slopes.data<float>()[head] *
             static_cast<float>(std::abs(i + mask.offset - j));
      }
      pairs_.push_back({j, x, slope});
      largest = std::max(largest, x);
    }
    return largest;
  }

  void run_row(int64_t head, int32_t i) {
    const int64_t kv = head / (args_.q.dim(1) / args_.k.dim(1));
    const int64_t width = args_.q.dim(2), value_width = args_.v.dim(2);
    float& lse = args_.lse.data<float>()[head * args_.lse.dim(1) + i];
    float largest = scores(head, kv, i), sum = 0;
    lse = -std::numeric_limits<float>::infinity();
    if (pairs_.empty()) return;
    if (args_.sinks.defined()) {
      largest = std::max(largest, args_.sinks.data<float>()[head]);
      sum = std::exp(args_.sinks.data<float>()[head] - largest);
    }
    for (const Pair& pair : pairs_) sum += std::exp(pair.weight - largest);
    lse = largest + std::log(sum);
    float delta = 0;
    const float* d_out = row(gradients_.d_out, i, head);
    for (Pair& pair : pairs_) {
      pair.weight = std::exp(pair.weight - lse);
      add(row(args_.out, i, head), pair.weight, row(args_.v, pair.key, kv), value_width);
      add(row(gradients_.d_v, pair.key, kv), pair.weight, d_out, value_width);
    }
    delta = dot(row(args_.out, i, head), d_out, value_width);
    for (const Pair& pair : pairs_) {
      const float d_weight = dot(d_out, row(args_.v, pair.key, kv), value_width);
      const float d_score = pair.weight * (d_weight - delta) * pair.slope * scale_;
      add(row(gradients_.d_q, i, head), d_score, row(args_.k, pair.key, kv), width);
      add(row(gradients_.d_k, pair.key, kv), d_score, row(args_.q, i, head), width);
    }
    if (args_.sinks.defined()) {
      gradients_.d_sinks.data<float>()[head] -=
          std::exp(args_.sinks.data<float>()[head] - lse) * delta;
    }
  }

  attention::Args args_;
  attention::Gradients gradients_;
  float scale_;
  std::vector<Pair> pairs_;
};

/// Largest |a − b|; equal infinities are no error, NaN is infinitely wrong.
inline double largest_error(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const double error = std::abs(a[i] - b[i]);
    if (!(error <= largest)) largest = std::isnan(error) ? INFINITY : error;
  }
  return largest;
}

inline double largest_size(const std::vector<double>& a) {
  double largest = 0;
  for (const double value : a) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  return largest;
}

/// The 2× rule for each result. The little is two roundings of the largest number, and of numbers
/// of size 16: what is left where d_weight − delta cancels, as in a row that sees a single key.
inline void expect_close(const Results& found, const Results& twin, const Results& exact,
                         const std::string& name) {
  for (size_t n = 0; n < exact.values.size(); ++n) {
    const double allowed = 2 * largest_error(twin.values[n], exact.values[n]) +
                           2.4e-7 * (largest_size(exact.values[n]) + 16);
    EXPECT_LE(largest_error(found.values[n], exact.values[n]), allowed)
        << name << ": " << Results::kNames[n];
  }
}

}  // namespace heddle::cases
