// Losses and gradients of whole models of every option against PyTorch in double precision and
// against differences.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/model/training_cases.h"

namespace heddle::model {
namespace {

double norm_of(const Tensor& tensor) {
  double sum = 0;
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    sum += std::pow(static_cast<double>(tensor.data<float>()[i]), 2);
  }
  return std::sqrt(sum);
}

/// Element i of a direction, in [−1, 1).
double unit_number(const std::string& name, int64_t i) {
  const uint64_t bits = splitmix(fnv1a(name + " probe") + static_cast<uint64_t>(i)) >> 40;
  return static_cast<double>(bits) / (1 << 23) - 1;
}

double along_units(const TrainingTransformer::Slot& slot) {
  double sum = 0;
  for (int64_t i = 0; i < slot.gradient.elements(); ++i) {
    sum += static_cast<double>(slot.gradient.data<float>()[i]) * unit_number(slot.name, i);
  }
  return sum;
}

TEST(Training, LossesAndGradientsArePyTorchs) {
  constexpr double kTolerance = 1e-5;
  ASSERT_EQ(training_cases().size(), golden_models().size());
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    const Supervised batch = each.all();
    for (size_t step = 0; step < each.losses.size(); ++step) {
      const LossSums sums = run(model, batch, each.settings);
      ASSERT_NEAR(sums.loss, each.losses[step], 2e-6 * each.losses[step]) << "step " << step;
      EXPECT_NEAR(model.loss(batch.view(), each.settings).loss, sums.loss, 1e-6 * sums.loss);
      double largest = 0;
      for (const auto& slot : model.slots()) largest = std::max(largest, norm_of(slot.gradient));
      for (const TrainingTransformer::Slot& slot : model.slots()) {
        const std::vector<double>& expected = each.gradients.at(slot.name);
        const double allowed = kTolerance * (expected[0] + 0.01 * largest);
        if (step == 0) {
          EXPECT_NEAR(norm_of(slot.gradient), expected[0], allowed) << slot.name;
          EXPECT_NEAR(along_units(slot), expected[1], allowed) << slot.name;
        }
        for (int64_t i = 0; i < slot.value.elements(); ++i) {
          slot.value.data<float>()[i] -=
              static_cast<float>(each.rate) * slot.gradient.data<float>()[i];
        }
      }
      model.values_changed();
    }
  }
}

/// The slope of the loss along unit numbers by four-point differences, and along_units. GELU stands
/// for ReLU, whose kinks a step may cross (the golden gradients have ReLU); SSRU keeps its own,
/// which a shorter step, whose rounding is worse, may not cross.
TEST(Training, GradientsAreSlopes) {
  constexpr double kSteps[] = {5e-4, 2e-4, 1e-4};
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TransformerConfig config = each.config;
    if (config.activation == ActivationKind::relu) config.activation = ActivationKind::gelu;
    TrainingTransformer model(random_model(config));
    const Supervised batch = each.pack({0, 3});
    LossSettings settings = each.settings;
    settings.dropout = 0.2;
    settings.activation_dropout = 0.1;
    settings.seed = 7;
    run(model, batch, settings);
    std::vector<double> slopes;
    double largest = 0;
    for (const auto& slot : model.slots()) {
      slopes.push_back(along_units(slot));
      largest = std::max(largest, std::abs(slopes.back()));
    }
    for (size_t s = 0; s < slopes.size(); ++s) {
      const TrainingTransformer::Slot& slot = model.slots()[s];
      float* value = slot.value.data<float>();
      const std::vector<float> kept(value, value + slot.value.elements());
      const auto loss_at = [&](double distance) {
        for (size_t i = 0; i < kept.size(); ++i) {
          value[i] = static_cast<float>(static_cast<double>(kept[i]) +
                                        distance * unit_number(slot.name, static_cast<int64_t>(i)));
        }
        model.values_changed();
        return run(model, batch, settings).loss;
      };
      double error = std::numeric_limits<double>::infinity();
      for (const double step : kSteps) {
        const double near = loss_at(step) - loss_at(-step);
        const double far = loss_at(2 * step) - loss_at(-2 * step);
        const double slope = (8 * near - far) / (12 * step);
        error = std::min(error, std::abs(slopes[s] - slope));
        if (error < 0.005 * largest) break;
      }
      EXPECT_LT(error, 0.005 * largest) << slot.name << ", slope " << slopes[s];
      loss_at(0);
    }
  }
}

TEST(RandomModel, IsGlorotAndNamedBySeed) {
  TransformerConfig config = golden_models().front().config;
  config.width = 64;
  const ModelFiles files = random_model(config, 5);
  check_parameters(config, files.parameters);
  for (const ParameterShape& each : parameters_of(config)) {
    SCOPED_TRACE(each.name);
    const Tensor values = files.parameters.require(each.name, each.shape).values;
    double mean = 0, square = 0;
    const auto count = static_cast<double>(values.elements());
    for (int64_t i = 0; i < values.elements(); ++i) {
      mean += values.data<float>()[i] / count;
      square += std::pow(values.data<float>()[i], 2) / count;
    }
    if (each.shape.rank() == 1) {
      EXPECT_EQ(mean, each.name.ends_with(".weight") ? 1 : 0);
      continue;
    }
    const bool table = each.name == "model.shared.weight";
    const double expected =
        table ? 1.0 / 64 : 2.0 / static_cast<double>(each.shape[0] + each.shape[1]);
    EXPECT_NEAR(square, expected, 0.15 * expected);
    EXPECT_NEAR(mean, 0, 4 * std::sqrt(expected / count));
  }
  const auto value = [&](uint64_t seed, const char* name) {
    return random_model(config, seed).parameters.find(name)->values.data<float>()[0];
  };
  const char* name = "model.encoder.layers.0.fc1.weight";
  EXPECT_EQ(value(5, name), value(5, name));
  EXPECT_NE(value(5, name), value(6, name));
  EXPECT_NE(value(5, name), value(5, "model.encoder.layers.1.fc1.weight"));
}

}  // namespace
}  // namespace heddle::model
