// The fused loss against its definition in double, and dropout's numbers.
#include "heddle/ops/cross_entropy.h"

#include "heddle/ops/dropout.h"
#include "tests/ops/cases.h"

namespace heddle::ops {
namespace {

using namespace cases;

struct LossCase {
  std::vector<float> x, weight, bias;  // [R, D], [V, D], [V]
  std::vector<int32_t> labels, ids;
  std::vector<float> weights, logs;
  double smoothing = 0, z_loss = 0, lambda = 0, scale = 1;
  int64_t choices = 0;

  int64_t count() const { return std::ssize(labels); }
  int64_t width() const { return std::ssize(x) / count(); }
  int64_t vocabulary() const { return std::ssize(weight) / width(); }

  CrossEntropy settings() const {
    return {.labels = labels,
            .weights = weights,
            .label_smoothing = smoothing,
            .z_loss = z_loss,
            .teacher_weight = lambda,
            .teacher_ids = ids,
            .teacher_log_probabilities = logs,
            .teacher_count = choices,
            .gradient_scale = scale};
  }
};

struct LossResult {
  CrossEntropySums sums{};
  std::vector<float> d_x, d_weight, d_bias;
};

LossResult run(LossCase c, const std::string& name) {
  Workspace workspace(name);
  Rows x = rows_of(c.x, c.count(), workspace);
  const Matrix matrix({tensor_of(c.weight, {c.vocabulary(), c.width()})}, Precision::f32, name);
  const float* bias = c.bias.empty() ? nullptr : c.bias.data();
  LossResult out{.d_x = std::vector<float>(c.x.size(), 99.0f),
                 .d_weight = std::vector<float>(c.weight.size()),
                 .d_bias = std::vector<float>(c.bias.size())};
  const CrossEntropyGradients gradients{
      .weight = {.values = c.weight.data(),
                 .rows = c.vocabulary(),
                 .d_values = out.d_weight.data(),
                 .d_bias = bias != nullptr ? out.d_bias.data() : nullptr},
      .d_x = {out.d_x.data(), c.width()}};
  out.sums = cross_entropy(x, matrix, bias, c.settings(), &gradients, workspace);
  const CrossEntropySums alone = cross_entropy(x, matrix, bias, c.settings(), nullptr, workspace);
  EXPECT_TRUE(alone.loss == out.sums.loss || std::isnan(alone.loss));
  EXPECT_EQ(alone.correct, out.sums.correct);
  return out;
}

/// The loss by its formula, and Σ weight · nll.
std::pair<double, double> twin(const LossCase& c, const std::vector<double>& x,
                               const std::vector<double>& weight, const std::vector<double>& bias) {
  double loss = 0, nll = 0;
  const auto vocabulary = static_cast<size_t>(c.vocabulary()),
             width = static_cast<size_t>(c.width());
  for (size_t r = 0; r < c.labels.size(); ++r) {
    if (c.labels[r] < 0) continue;
    std::vector<double> logits(vocabulary);
    for (size_t n = 0; n < vocabulary; ++n) {
      logits[n] = bias.empty() ? 0 : bias[n];
      for (size_t k = 0; k < width; ++k) logits[n] += x[r * width + k] * weight[n * width + k];
    }
    const double most = *std::max_element(logits.begin(), logits.end());
    double z = 0, mean = 0;
    for (const double logit : logits) z += std::exp(logit - most);
    z = most + std::log(z);
    for (const double logit : logits) mean += (z - logit) / static_cast<double>(vocabulary);
    const double label = z - logits[static_cast<size_t>(c.labels[r])];
    double value = (1 - c.smoothing) * label + (c.smoothing > 0 ? c.smoothing * mean : 0);
    if (c.lambda > 0) {
      double total = 0, divergence = 0;
      const auto k = static_cast<size_t>(c.choices);
      for (size_t i = r * k; i < (r + 1) * k; ++i) total += c.ids[i] < 0 ? 0 : std::exp(c.logs[i]);
      for (size_t i = r * k; i < (r + 1) * k; ++i) {
        if (c.ids[i] < 0) continue;
        const double q = std::exp(static_cast<double>(c.logs[i])) / total;
        divergence += q * (std::log(q) - (logits[static_cast<size_t>(c.ids[i])] - z));
      }
      if (total > 0) value = (1 - c.lambda) * value + c.lambda * divergence;
    }
    const double row_weight = c.weights.empty() ? 1 : static_cast<double>(c.weights[r]);
    loss += row_weight * (value + c.z_loss * z * z);
    nll += row_weight * label;
  }
  return {loss, nll};
}

std::vector<double> doubles(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

void check(const LossCase& c, const std::string& name) {
  const LossResult found = run(c, name);
  std::vector<double> in[3] = {doubles(c.x), doubles(c.weight), doubles(c.bias)};
  const auto [loss, nll] = twin(c, in[0], in[1], in[2]);
  EXPECT_NEAR(found.sums.loss, loss, 1e-6 * (1 + std::abs(loss))) << name;
  EXPECT_NEAR(found.sums.nll, nll, 1e-6 * (1 + std::abs(nll))) << name;
  const std::vector<float>* gradients[3] = {&found.d_x, &found.d_weight, &found.d_bias};
  constexpr double kStep = 1e-3;
  for (int input = 0; input < 3; ++input) {
    for (size_t i = 0; i < in[input].size(); ++i) {
      const double kept = in[input][i];
      const auto at = [&](double distance) {
        in[input][i] = kept + distance;
        return c.scale * twin(c, in[0], in[1], in[2]).first;
      };
      const double near = at(kStep) - at(-kStep), far = at(2 * kStep) - at(-2 * kStep);
      const double slope = (8 * near - far) / (12 * kStep);
      in[input][i] = kept;
      ASSERT_NEAR((*gradients[input])[i], slope, 2e-5 * (1 + std::abs(slope)))
          << name << ", input " << input << ", element " << i;
    }
  }
}

LossCase small_case(bool with_bias) {
  LossCase c{.x = normal_values(5 * 6, 1, 1),
             .weight = normal_values(19 * 6, 0.7, 2),
             .bias = {},
             .labels = {3, -1, 18, 0, 7},
             .ids = {},
             .weights = {},
             .logs = {}};
  if (with_bias) c.bias = normal_values(19, 1, 3);
  return c;
}

TEST(CrossEntropy, LossAndGradients) {
  for (const std::string& name : instruction_sets()) {
    for (const bool with_bias : {false, true}) {
      LossCase c = small_case(with_bias);
      check(c, name);
      c.smoothing = 0.1;
      c.weights = {1, 2, 0, 0.5f, 3};
      check(c, name);
      c.z_loss = 0.02;
      c.scale = 0.25;
      check(c, name);
      c.lambda = 0.4;
      c.choices = 3;
      c.ids = {1, 2, 3, 4, 5, 6, 7, 8, -1, -1, -1, -1, 0, 18, 7};
      c.logs = normal_values(15, 1, 4);
      check(c, name);
      c.lambda = 1;
      check(c, name);
    }
  }
}

TEST(CrossEntropy, CountsTokensAndHits) {
  LossCase c = small_case(false);
  c.weight.assign(19 * 6, 0.0f);
  c.weight[18 * 6] = 1;  // logit 18 is x[0]
  for (size_t r = 0; r < 5; ++r) c.x[r * 6] = 4;
  const LossResult found = run(c, "");
  EXPECT_EQ(found.sums.tokens, 4);
  EXPECT_EQ(found.sums.weight, 4);
  EXPECT_EQ(found.sums.correct, 1);
  for (size_t i = 6; i < 12; ++i) EXPECT_EQ(found.d_x[i], 0) << "a row without label";
}

/// More rows than one block of logits holds.
TEST(CrossEntropy, BlocksAreRowByRow) {
  constexpr int64_t kVocabulary = 50000, kRows = 90, kWidth = 3;
  LossCase c{.x = normal_values(kRows * kWidth, 1, 1),
             .weight = normal_values(kVocabulary * kWidth, 1, 2),
             .bias = normal_values(kVocabulary, 1, 3),
             .labels = {},
             .ids = {},
             .weights = {},
             .logs = {},
             .smoothing = 0.1};
  for (int32_t r = 0; r < kRows; ++r) c.labels.push_back(r % 7 == 3 ? -1 : r * 531 % kVocabulary);
  const LossResult all = run(c, "");
  double loss = 0;
  std::vector<double> d_bias(kVocabulary);
  for (size_t r = 0; r < kRows; ++r) {
    LossCase one = c;
    one.x.assign(c.x.begin() + r * kWidth, c.x.begin() + (r + 1) * kWidth);
    one.labels = {c.labels[r]};
    const LossResult its = run(one, "");
    loss += its.sums.loss;
    expect_same_bits({all.d_x.begin() + r * kWidth, all.d_x.begin() + (r + 1) * kWidth}, its.d_x,
                     "d_x");
    for (size_t n = 0; n < kVocabulary; ++n) d_bias[n] += static_cast<double>(its.d_bias[n]);
  }
  EXPECT_NEAR(all.sums.loss, loss, 1e-9 * loss);
  expect_close(all.d_bias, d_bias, 1e-6, "d_bias");
}

/// NU-04: logits of ±1e4, ±6e4 and beyond, all alike, one −inf.
TEST(CrossEntropy, ExtremeLogitsAreFinite) {
  for (const std::string& name : instruction_sets()) {
    for (const float size : {0.0f, 1e4f, 6e4f, 65504.0f, 1e30f}) {
      LossCase c = small_case(true);
      std::fill(c.weight.begin(), c.weight.end(), 0.0f);
      for (size_t n = 0; n < 19; ++n) c.bias[n] = n % 2 == 0 ? size : -size;
      if (size == 6e4f) c.bias[4] = -std::numeric_limits<float>::infinity();
      const LossResult found = run(c, name);
      const double loss = twin(c, doubles(c.x), doubles(c.weight), doubles(c.bias)).first;
      EXPECT_NEAR(found.sums.loss, loss, 1e-6 * (1 + loss)) << size;
      for (const auto* all : {&found.d_x, &found.d_weight, &found.d_bias}) {
        for (const float value : *all) ASSERT_TRUE(std::isfinite(value)) << size;
      }
    }
  }
}

/// NU-05: nothing to learn.
TEST(CrossEntropy, NoLabelsGiveZero) {
  LossCase c = small_case(true);
  c.smoothing = 0.1;
  for (const bool weightless : {false, true}) {
    LossCase none = c;
    if (weightless) none.weights.assign(5, 0.0f);
    if (!weightless) none.labels.assign(5, -1);
    const LossResult found = run(none, "");
    EXPECT_EQ(found.sums.loss, 0);
    EXPECT_EQ(found.sums.weight, 0);
    for (const auto* all : {&found.d_x, &found.d_weight, &found.d_bias}) {
      for (const float value : *all) ASSERT_EQ(value, 0);
    }
  }
}

TEST(CrossEntropy, NanIsNotHidden) {
  for (const std::string& name : instruction_sets()) {
    LossCase c = small_case(true);
    c.bias[9] = std::numeric_limits<float>::quiet_NaN();  // no label's
    const LossResult found = run(c, name);
    EXPECT_TRUE(std::isnan(found.sums.loss)) << name;
    EXPECT_TRUE(std::isnan(found.d_weight[0])) << name;
  }
}

TEST(Dropout, KeepsItsShareAndTheMean) {
  for (const double probability : {0.0, 0.1, 0.5, 0.9}) {
    Workspace workspace;
    Rows x(200, 333, workspace);
    std::fill(x.row(0), x.row(0) + 200 * 333, 1.0f);
    drop({.probability = probability, .seed = 1, .step = 2, .site = 3}, {x.row(0), 333}, 200, 333,
         {x.row(0), 333});
    double mean = 0;
    int64_t kept = 0;
    for (const float value : values_of(x)) {
      mean += static_cast<double>(value) / (200 * 333);
      kept += value != 0 ? 1 : 0;
    }
    const double share = static_cast<double>(kept) / (200 * 333);
    EXPECT_NEAR(share, 1 - probability, 0.007);
    EXPECT_NEAR(mean, 1, 0.03);
  }
}

TEST(Dropout, NumbersAreNamedByWhereTheyStand) {
  const Dropout base{.probability = 0.5, .seed = 1, .step = 2, .first_row = 3, .site = 4};
  const auto pattern = [](const Dropout& dropout, int64_t row) {
    std::vector<bool> kept;
    for (int64_t i = 0; i < 200; ++i) kept.push_back(keeps(dropout, row, i));
    return kept;
  };
  Dropout shifted = base;
  shifted.first_row = 10;
  EXPECT_EQ(pattern(base, 7), pattern(shifted, 0));
  const std::vector<bool> first = pattern(base, 0);
  EXPECT_NE(pattern(base, 1), first);
  for (int i = 0; i < 6; ++i) {
    Dropout other = base;
    if (i == 0) other.seed = 2;
    if (i == 1) other.seed = base.seed | uint64_t{1} << 40;
    if (i == 2) other.step = 3;
    if (i == 3) other.step = base.step | uint64_t{1} << 40;
    if (i == 4) other.site = 5;
    if (i == 5) other.first_row = base.first_row | uint64_t{1} << 40;
    EXPECT_NE(pattern(other, 0), first) << i;
  }
  // These may never change: a resumed run draws them again.
  std::string text;
  for (int i = 0; i < 24; ++i) text += first[static_cast<size_t>(i)] ? '1' : '0';
  EXPECT_EQ(text, "010101010100101010001110");
}

}  // namespace
}  // namespace heddle::ops
