// Losses and gradients of whole models of every option, computed in one way and another.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "heddle/model/formats/formats.h"
#include "tests/model/training_cases.h"

namespace heddle::model {
namespace {

void expect_same(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i])) << i;
  }
}

/// ‖found − expected‖ / ‖expected‖.
double distance(const std::vector<float>& found, const std::vector<float>& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / size);
}

TEST(Training, PackedIsOneByOne) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    const LossSums packed = run(model, each.all(), each.settings);
    const std::vector<float> gradients = gradients_of(model);
    model.zero_gradients();
    LossSums sums;
    for (size_t i = 0; i < each.pairs.sources.size(); ++i) {
      sums += model.forward_backward(each.pack({i}).view(), each.settings);
    }
    EXPECT_NEAR(sums.loss, packed.loss, 1e-6 * packed.loss);
    EXPECT_NEAR(sums.nll, packed.nll, 1e-6 * packed.nll);
    EXPECT_EQ(sums.tokens, packed.tokens);
    EXPECT_EQ(sums.correct, packed.correct);
    EXPECT_LT(distance(gradients_of(model), gradients), 2e-6);
  }
}

TEST(Training, RecomputationChangesNoBit) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    LossSettings settings = each.settings;
    for (const double dropout : {0.0, 0.3}) {
      settings.dropout = settings.activation_dropout = dropout;
      settings.recompute = false;
      const LossSums kept = run(model, each.all(), settings);
      const std::vector<float> gradients = gradients_of(model);
      settings.recompute = true;
      EXPECT_EQ(run(model, each.all(), settings).loss, kept.loss);
      expect_same(gradients_of(model), gradients);
    }
  }
}

/// The values that a model in int8 stands for.
ModelFiles rounded(const TransformerConfig& config) {
  ModelFiles files = quantised(random_model(config), DType::i8);
  Parameters plain;
  for (const auto& [name, parameter] : files.parameters) plain.add(name, {to_f32(parameter)});
  files.parameters = std::move(plain);
  return files;
}

TEST(Training, RoundedItIsTheModelInInt8AndKeepsItsValues) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config)), plain(rounded(each.config));
    const double unrounded = run(model, each.all(), each.settings).loss;
    model.round_to_int8();
    const double loss = run(model, each.all(), each.settings).loss;
    EXPECT_EQ(loss, run(plain, each.all(), each.settings).loss);
    EXPECT_NE(loss, unrounded);
    expect_same(gradients_of(model), gradients_of(plain));
    EXPECT_EQ(model.loss(each.all().view()).loss, plain.loss(each.all().view()).loss);
    const ModelFiles expected = random_model(each.config);
    for (const auto& slot : model.slots()) {
      const Tensor& given = expected.parameters.find(slot.name)->values;
      const Tensor kept = model.files().parameters.find(slot.name)->values;
      for (int64_t i = 0; i < given.elements(); ++i) {
        ASSERT_EQ(kept.data<float>()[i], given.data<float>()[i]) << slot.name;
        slot.value.data<float>()[i] *= 1.5f;
      }
    }
    model.values_changed();  // and takes new ones
    EXPECT_NE(run(model, each.all(), each.settings).loss, loss);
  }
}

TEST(Training, ThreadsChangeNoBit) {
  ThreadPool one(1), two(2), three(3);
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    LossSettings settings = each.settings;
    settings.dropout = 0.1;
    settings.workers = 2;
    const LossSums alone = run(model, each.all(), settings);
    const std::vector<float> gradients = gradients_of(model);
    for (ThreadPool* threads : {&one, &two, &three}) {
      EXPECT_EQ(run(model, each.all(), settings, threads).loss, alone.loss);
      expect_same(gradients_of(model), gradients);
    }
    // Another number of workers adds up in another order and draws the same dropout.
    settings.workers = 3;
    EXPECT_NEAR(run(model, each.all(), settings).loss, alone.loss, 1e-6 * alone.loss);
    EXPECT_LT(distance(gradients_of(model), gradients), 2e-6);
  }
}

TEST(Training, SkippedTilesChangeNoBit) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    LossSettings settings = each.settings;
    const LossSums skipping = run(model, each.all(), settings);
    const std::vector<float> gradients = gradients_of(model);
    settings.skip_tiles = false;
    EXPECT_EQ(run(model, each.all(), settings).loss, skipping.loss);
    expect_same(gradients_of(model), gradients);
  }
}

TEST(Training, GradientsAreAddedAndScaled) {
  const TrainingCase& each = training_cases().front();
  TrainingTransformer model(random_model(each.config));
  run(model, each.all(), each.settings);
  const std::vector<float> once = gradients_of(model);
  LossSettings settings = each.settings;
  settings.gradient_scale = 2;
  model.forward_backward(each.all().view(), settings);
  std::vector<float> thrice;
  for (const float value : once) thrice.push_back(3 * value);
  EXPECT_LT(distance(gradients_of(model), thrice), 1e-6);
}

TEST(Training, NothingToLearnIsZero) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    Supervised batch = each.all();
    std::ranges::fill(batch.labels, -1);
    const LossSums none = run(model, batch, each.settings);
    EXPECT_EQ(none.loss, 0);
    EXPECT_EQ(none.weight, 0);
    EXPECT_EQ(none.tokens, 0);
    for (const float value : gradients_of(model)) ASSERT_EQ(value, 0);
    EXPECT_EQ(model.loss(batch.view()).loss, 0);

    Supervised weightless = each.all();
    std::ranges::fill(weightless.weights, 0.0f);
    EXPECT_EQ(run(model, weightless, each.settings).loss, 0);
    for (const float value : gradients_of(model)) ASSERT_EQ(value, 0);
  }
}

TEST(Training, SentencesWithoutTokensSayNothing) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    Supervised batch = each.pack({0, 1, 2});
    const LossSums sums = run(model, batch, each.settings);
    const std::vector<float> gradients = gradients_of(model);
    batch.source_offsets.insert(batch.source_offsets.begin() + 1, batch.source_offsets[1]);
    batch.target_offsets.insert(batch.target_offsets.begin() + 1, batch.target_offsets[1]);
    EXPECT_EQ(run(model, batch, each.settings).loss, sums.loss);
    expect_same(gradients_of(model), gradients);
    for (auto* offsets : {&batch.source_offsets, &batch.target_offsets}) *offsets = {0};
    batch = Supervised{};
    EXPECT_EQ(run(model, batch, {}).loss, 0);
  }
}

/// A target without its source: attention sees nothing, which is 0 and no gradient, not NaN.
TEST(Training, ATargetWithoutSourceIsFinite) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    Supervised batch = each.pack({0, 2});
    batch.sources.erase(batch.sources.begin(), batch.sources.begin() + batch.source_offsets[1]);
    batch.source_offsets = {0, 0, static_cast<int32_t>(batch.sources.size())};
    EXPECT_TRUE(std::isfinite(run(model, batch, each.settings).loss));
    for (const float value : gradients_of(model)) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST(Training, NanIsNotHidden) {
  const TrainingCase& each = training_cases().front();
  TrainingTransformer model(random_model(each.config));
  for (const TrainingTransformer::Slot& slot : model.slots()) {
    float& value = slot.value.data<float>()[slot.value.elements() / 2];
    const float kept = value;
    value = std::numeric_limits<float>::quiet_NaN();
    model.values_changed();
    EXPECT_TRUE(std::isnan(run(model, each.all(), {}).loss)) << slot.name;
    value = kept;
  }
  model.values_changed();
  EXPECT_TRUE(std::isfinite(run(model, each.all(), {}).loss));
}

TEST(Training, DropoutDependsOnSeedStepAndRow) {
  const TrainingCase& each = training_cases().front();
  TrainingTransformer model(random_model(each.config));
  LossSettings settings{.dropout = 0.3, .seed = 1, .step = 1, .first_row = 0};
  const double loss = run(model, each.all(), settings).loss;
  EXPECT_EQ(run(model, each.all(), settings).loss, loss);
  EXPECT_EQ(run(model, each.all(), {}).loss, model.loss(each.all().view()).loss);
  for (const LossSettings& other :
       {LossSettings{.dropout = 0.3, .seed = 2, .step = 1},
        LossSettings{.dropout = 0.3, .seed = 1, .step = 2},
        LossSettings{.dropout = 0.3, .seed = 1, .step = 1, .first_row = uint64_t{1} << 40},
        LossSettings{}}) {
    EXPECT_NE(run(model, each.all(), other).loss, loss);
  }
}

TEST(Training, FilesHoldTheValues) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    TrainingTransformer model(random_model(each.config));
    for (const auto& slot : model.slots()) slot.value.data<float>()[0] += 0.25f;
    model.values_changed();
    const double loss = model.loss(each.all().view()).loss;
    const ModelFiles files = model.files();
    EXPECT_EQ(files.config, each.config);
    EXPECT_EQ(TrainingTransformer(files).loss(each.all().view()).loss, loss);
    EXPECT_NE(TrainingTransformer(random_model(each.config)).loss(each.all().view()).loss, loss);
  }
}

TEST(Training, RefusesWhatDoesNotFit) {
  const TrainingCase& each = training_cases().front();
  TrainingTransformer model(random_model(each.config));
  const auto refused = [&](auto&& change) {
    Supervised batch = each.all();
    LossSettings settings;
    change(batch, settings);
    EXPECT_THROW(model.forward_backward(batch.view(), settings), Error);
  };
  refused([](Supervised& b, LossSettings&) { b.labels.pop_back(); });
  refused([](Supervised& b, LossSettings&) { b.labels[0] = 10000; });
  refused([](Supervised& b, LossSettings&) { b.labels[0] = -2; });
  refused([](Supervised& b, LossSettings&) { b.weights.pop_back(); });
  refused([](Supervised& b, LossSettings&) { b.teacher_ids = {1}; });
  refused([](Supervised& b, LossSettings&) { b.target_offsets.back() -= 1; });
  refused([](Supervised& b, LossSettings&) { b.sources[0] = 10000; });
  refused([](Supervised&, LossSettings& s) { s.dropout = 1; });
  refused([](Supervised&, LossSettings& s) { s.label_smoothing = 1; });
  refused([](Supervised&, LossSettings& s) { s.workers = -1; });
}

}  // namespace
}  // namespace heddle::model
