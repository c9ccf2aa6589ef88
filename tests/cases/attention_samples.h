// The definition of attention at a few places, for cases whose whole oracle would take minutes:
//
//   row i: out, lse from q[i] and all its keys; d_q[i] = scale · Σ_j p (d_out[i]·v[j] − delta[i])
//   k[j] key j: d_v[j] = Σ_i p d_out[i];  d_k[j] = scale · Σ_i p (d_out[i]·v[j] − delta[i]) q[i]
//
// with p = exp(scale · q[i]·k[j] − lse[i]) and delta[i] = out[i]·d_out[i]. As in attention.h the
// backward pass is a function of the forward's out and lse: both oracle and twin take those found.
// In double it is the oracle, in f32 the plain twin. No soft-cap, sinks or ALiBi.
#pragma once

#include <set>

#include "tests/cases/attention_oracle.h"

namespace heddle::cases {

/// Places spread over [0, length): the ends, the edges of a tile, and random ones.
inline std::vector<int32_t> sample_places(int32_t length, int random, uint64_t seed) {
  std::set<int32_t> places;
  for (const int32_t at : {0, 63, 64, length / 2, length - 65, length - 1}) {
    if (at >= 0 && at < length) places.insert(at);
  }
  Random numbers(seed);
  for (int n = 0; n < random; ++n) {
    places.insert(std::min(static_cast<int32_t>(numbers.uniform() * length), length - 1));
  }
  return {places.begin(), places.end()};
}

struct Places {
  std::vector<int32_t> rows, keys;
};

template <typename Number>
class Samples {
 public:
  /// After a forward and a backward of the problem.
  Samples(const AttentionProblem& problem, const Places& places)
      : args_(problem.args),
        d_out_(problem.gradients.d_out),
        mask_(problem.mask.view()),
        group_(problem.args.q.dim(1) / problem.args.k.dim(1)),
        scale_(static_cast<Number>(attention::scale_of(problem.args))) {
    results_.values.resize(5);
    for (int64_t head = 0; head < args_.q.dim(1); ++head) {
      for (int32_t i = 0; i < mask_.query_length; ++i) {
        deltas_.push_back(dot(row(args_.out, i, head), row(d_out_, i, head), args_.v.dim(2)));
      }
    }
    for (int64_t head = 0; head < args_.q.dim(1); ++head) {
      for (const int32_t i : places.rows) add_row(head, i);
    }
    for (int64_t head = 0; head < args_.k.dim(1); ++head) {
      for (const int32_t j : places.keys) add_key(head, j);
    }
  }

  const Results& results() const { return results_; }  ///< but for d_sinks

 private:
  static const float* row(const Tensor& tensor, int64_t t, int64_t head) {
    return tensor.data<float>() + t * tensor.stride(0) + head * tensor.stride(1);
  }
  static Number dot(const float* a, const float* b, int64_t width) {
    Number sum = 0;
    for (int64_t e = 0; e < width; ++e) sum += Number{a[e]} * Number{b[e]};
    return sum;
  }
  static void add(std::vector<Number>& to, Number factor, const float* from) {
    for (size_t e = 0; e < to.size(); ++e) to[e] += factor * Number{from[e]};
  }
  void keep(int result, const std::vector<Number>& numbers) {
    auto& values = results_.values[static_cast<size_t>(result)];
    values.insert(values.end(), numbers.begin(), numbers.end());
  }
  std::vector<Number> zeros(const Tensor& like) const {
    return std::vector<Number>(static_cast<size_t>(like.dim(2)), 0);
  }

  Number score(int64_t head, int32_t i, int32_t j) const {
    return scale_ * dot(row(args_.q, i, head), row(args_.k, j, head / group_), args_.q.dim(2));
  }
  bool sees(int64_t head, int32_t i, int32_t j) const {
    return allowed(mask_, mask_head(mask_, static_cast<int32_t>(head / group_)), i, j);
  }
  Number found_lse(int64_t head, int32_t i) const {
    return args_.lse.template data<float>()[head * args_.lse.stride(0) + i];
  }
  /// The derivative of the score, from its weight.
  Number d_score(int64_t head, int32_t i, int32_t j, Number weight) const {
    const float* v = row(args_.v, j, head / group_);
    const Number delta = deltas_[static_cast<size_t>(head * mask_.query_length + i)];
    return scale_ * weight * (dot(row(d_out_, i, head), v, args_.v.dim(2)) - delta);
  }

  void add_row(int64_t head, int32_t i) {
    std::vector<int32_t> keys;
    std::vector<Number> scores;
    Number largest = -std::numeric_limits<Number>::infinity(), sum = 0;
    for (int32_t j = 0; j < mask_.key_length; ++j) {
      if (!sees(head, i, j)) continue;
      keys.push_back(j);
      scores.push_back(score(head, i, j));
      largest = std::max(largest, scores.back());
    }
    for (const Number x : scores) sum += std::exp(x - largest);
    const Number lse = keys.empty() ? largest : largest + std::log(sum);
    std::vector<Number> out = zeros(args_.v), d_q = zeros(args_.q);
    for (size_t n = 0; n < keys.size(); ++n) {
      add(out, std::exp(scores[n] - lse), row(args_.v, keys[n], head / group_));
      const Number weight = std::exp(scores[n] - found_lse(head, i));
      add(d_q, d_score(head, i, keys[n], weight), row(args_.k, keys[n], head / group_));
    }
    keep(0, out);
    keep(1, {lse});
    keep(2, d_q);
  }

  void add_key(int64_t kv_head, int32_t j) {
    std::vector<Number> d_k = zeros(args_.k), d_v = zeros(args_.v);
    for (int64_t head = kv_head * group_; head < (kv_head + 1) * group_; ++head) {
      for (int32_t i = 0; i < mask_.query_length; ++i) {
        if (!sees(head, i, j)) continue;
        const Number weight = std::exp(score(head, i, j) - found_lse(head, i));
        add(d_v, weight, row(d_out_, i, head));
        add(d_k, d_score(head, i, j, weight), row(args_.q, i, head));
      }
    }
    keep(3, d_k);
    keep(4, d_v);
  }

  const attention::Args& args_;
  const Tensor& d_out_;
  MaskView mask_;
  int64_t group_;
  Number scale_;
  std::vector<Number> deltas_;  // [H, Tq]
  Results results_;
};

/// What an implementation left at the same places, in the same order.
inline Results found_samples(const AttentionProblem& problem, const Places& places) {
  Results results;
  results.values.resize(5);
  const auto take = [&](size_t result, const Tensor& tensor, int64_t t, int64_t head) {
    const float* from = tensor.data<float>() + t * tensor.stride(0) + head * tensor.stride(1);
    auto& values = results.values[result];
    values.insert(values.end(), from, from + tensor.dim(2));
  };
  const attention::Args& args = problem.args;
  for (int64_t head = 0; head < args.q.dim(1); ++head) {
    for (const int32_t i : places.rows) {
      take(0, args.out, i, head);
      results.values[1].push_back(args.lse.data<float>()[head * args.lse.stride(0) + i]);
      take(2, problem.gradients.d_q, i, head);
    }
  }
  for (int64_t head = 0; head < args.k.dim(1); ++head) {
    for (const int32_t j : places.keys) {
      take(3, problem.gradients.d_k, j, head);
      take(4, problem.gradients.d_v, j, head);
    }
  }
  return results;
}

}  // namespace heddle::cases
