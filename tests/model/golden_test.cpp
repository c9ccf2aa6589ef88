// Every model of tests/golden/models.json against PyTorch's numbers, teacher-forced and step by
// step.
#include <gtest/gtest.h>

#include <algorithm>
#include "heddle/ops/linear.h"
#include "tests/model/golden_models.h"

namespace heddle::model {
namespace {

/// Largest |found − expected| over the end of `found`, relative to the largest expected.
float error(std::span<const float> found, std::span<const float> expected) {
  found = found.last(expected.size());
  float largest = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const float difference = std::abs(found[i] - expected[i]);
    worst = difference <= worst ? worst : difference;  // NaN is kept
  }
  return worst / largest;
}

std::vector<std::vector<float>> teacher_forced(const Transformer& model, const Pairs& pairs) {
  const Pairs::Packed packed = pairs.pack(pairs.all());
  ops::Workspace workspace;
  const Tensor hidden = model.forward(packed.view(), workspace);
  std::vector<std::vector<float>> out;
  const int64_t width = model.config().width;
  for (size_t s = 0; s + 1 < packed.target_offsets.size(); ++s) {
    const float* data = hidden.data<float>();
    out.emplace_back(data + packed.target_offsets[s] * width,
                     data + packed.target_offsets[s + 1] * width);
  }
  return out;
}

std::vector<float> logits(const Transformer& model, std::vector<float>& hidden) {
  ops::Workspace workspace;
  const int64_t width = model.config().width;
  ops::Rows x(hidden.data() + hidden.size() - static_cast<size_t>(width), 1, width, width,
              workspace);
  ops::Rows y(1, model.output().rows(), workspace);
  const std::span<const float> bias = model.output_bias();
  ops::linear(x, model.output(), {.bias = bias.empty() ? nullptr : bias.data()}, y, workspace);
  return {y.row(0), y.row(0) + y.width()};
}

constexpr float kTolerance = 1e-5f;

TEST(Golden, ThereAreModelsOfEveryOption) {
  EXPECT_GE(golden_models().size(), 24u);
  const auto some = [](auto&& has) {
    return std::ranges::any_of(golden_models(), [&](const Golden& g) { return has(g.config); });
  };
  for (const auto kind : {ActivationKind::relu, ActivationKind::gelu, ActivationKind::gelu_tanh,
                          ActivationKind::quick_gelu, ActivationKind::silu}) {
    EXPECT_TRUE(some([&](const TransformerConfig& c) { return c.activation == kind; }));
  }
  for (const auto ties : {Ties::all, Ties::source_target, Ties::target_output, Ties::none}) {
    EXPECT_TRUE(some([&](const TransformerConfig& c) { return c.ties == ties; }));
  }
  for (int i = 0; i <= static_cast<int>(Positions::rotary); ++i) {
    EXPECT_TRUE(some([&](const TransformerConfig& c) {
      return static_cast<int>(c.positions) == i;
    })) << i;
  }
}

TEST(Golden, TeacherForcedForwardIsPyTorchs) {
  for (const Golden& golden : golden_models()) {
    SCOPED_TRACE(golden.name);
    const Transformer model(random_model(golden.config));
    std::vector<std::vector<float>> hidden = teacher_forced(model, golden.pairs);
    for (size_t i = 0; i < hidden.size(); ++i) {
      EXPECT_LT(error(hidden[i], golden.hidden[i]), kTolerance) << "pair " << i;
      EXPECT_LT(error(logits(model, hidden[i]), golden.logits[i]), kTolerance) << "pair " << i;
    }
  }
}

TEST(Golden, StepsArePyTorchs) {
  for (const Golden& golden : golden_models()) {
    SCOPED_TRACE(golden.name);
    const Transformer model(random_model(golden.config));
    const auto hidden = by_steps(model, golden.pairs, golden.pairs.all());
    for (size_t i = 0; i < hidden.size(); ++i) {
      EXPECT_LT(error(hidden[i], golden.hidden[i]), kTolerance) << "pair " << i;
    }
  }
}

TEST(Golden, ConfigsGoThroughJson) {
  for (const Golden& golden : golden_models()) {
    SCOPED_TRACE(golden.name);
    const io::Value json = to_json(golden.config);
    EXPECT_EQ(read_config(io::Field(json, "config")), golden.config);
    EXPECT_EQ(json.find("model_type")->text()->c_str(),
              std::string(golden.name == "opus_like" ? "marian" : "heddle"));
  }
}

}  // namespace
}  // namespace heddle::model
