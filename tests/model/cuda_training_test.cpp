// Training on a GPU against the same model on the host, which is PyTorch's to 1e-5.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "heddle/base/random.h"
#include "heddle/model/cuda/parameters.h"
#include "heddle/model/cuda/training.h"
#include "heddle/model/formats/formats.h"
#include "tests/model/cuda_gradients.h"
#include "tests/model/training_cases.h"

namespace heddle::model {
namespace {

/// Of bf16 activations and gradients, 8 bits each, through all layers.
constexpr double kShare = 0.03;

/// The same model, wide enough for the kernels.
TransformerConfig widened(TransformerConfig config) {
  config.width = 64;
  config.head_width = config.head_width != 0 ? 24 : 0;
  config.encoder.ffn_width = 96;
  config.decoder.ffn_width = 128;
  return config;
}

class TrainingGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

LossSums run_on_gpu(cuda::TrainingTransformer& model, const Supervised& batch,
                    const LossSettings& settings) {
  return run_on_gpu(model, batch.view(), settings);
}

/// Ten steps of gradient descent, of the host's model and of one on the GPU that starts each with
/// the host's values.
TEST_F(TrainingGpu, LossesAndGradientsAreTheHostsForEveryOption) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    const TransformerConfig config = widened(each.config);
    TrainingTransformer host(random_model(config));
    cuda::TrainingTransformer gpu(random_model(config), 0);
    const Supervised batch = each.all();
    for (int step = 0; step < 10; ++step) {
      const LossSums sums = run_on_gpu(gpu, batch, each.settings);
      const LossSums expected = run(host, batch, each.settings);
      EXPECT_NEAR(sums.loss, expected.loss, 0.01 * expected.loss) << "step " << step;
      EXPECT_NEAR(sums.nll, expected.nll, 0.01 * expected.nll) << "step " << step;
      EXPECT_EQ(sums.tokens, expected.tokens);
      EXPECT_NEAR(sums.weight, expected.weight, 1e-6 * expected.weight);
      EXPECT_NEAR(gpu.loss(batch.view(), each.settings).loss, sums.loss, 3e-3 * sums.loss);
      if (step == 0) expect_same_gradients(gpu, host, 0.2);  // a relu of few tokens turns over
      std::vector<Tensor> values;
      for (const TrainingTransformer::Slot& slot : host.slots()) {
        for (int64_t i = 0; i < slot.value.elements(); ++i) {
          slot.value.data<float>()[i] -=
              static_cast<float>(0.1 * each.rate) * slot.gradient.data<float>()[i];
        }
        values.push_back(slot.value);
      }
      host.values_changed();
      gpu.load(values);
    }
  }
}

TEST_F(TrainingGpu, RoundedItIsTheModelInInt8) {
  for (const TrainingCase& each : training_cases()) {
    SCOPED_TRACE(each.name);
    const TransformerConfig config = widened(each.config);
    ModelFiles files = quantised(random_model(config), DType::i8);
    Parameters values;
    for (const auto& [name, parameter] : files.parameters) values.add(name, {to_f32(parameter)});
    files.parameters = std::move(values);
    cuda::TrainingTransformer plain(std::move(files), 0), model(random_model(config), 0);
    const double unrounded = run_on_gpu(model, each.all(), each.settings).loss;
    model.round_to_int8();
    const double expected = run_on_gpu(plain, each.all(), each.settings).loss;
    EXPECT_NEAR(run_on_gpu(model, each.all(), each.settings).loss, expected, 1e-5 * expected);
    EXPECT_NE(unrounded, expected);
  }
}

TransformerConfig larger(bool prenorm) {
  TransformerConfig config = training_cases().front().config;
  config.width = 256;
  config.encoder = {.layers = 2, .heads = 4, .ffn_width = 1024};
  config.decoder = config.encoder;
  config.source_vocabulary = config.target_vocabulary = 1003;
  config.ties = Ties::all;
  config.activation = ActivationKind::gelu;  // relu: a rounded sign turns a whole gradient over
  config.preprocess = prenorm ? "n" : "";
  config.postprocess = prenorm ? "da" : "dan";
  config.postprocess_top = prenorm ? "n" : "";
  return config;
}

Supervised random_pairs(int64_t sentences, int64_t longest, int32_t vocabulary) {
  Random random(4);
  Supervised batch;
  for (int64_t s = 0; s < sentences; ++s) {
    for (int64_t n = random.between(1, longest); n > 0; --n) {
      batch.sources.push_back(static_cast<int32_t>(random.between(1, vocabulary - 1)));
    }
    batch.source_offsets.push_back(static_cast<int32_t>(batch.sources.size()));
    for (int64_t n = random.between(1, longest); n > 0; --n) {
      batch.targets.push_back(static_cast<int32_t>(random.between(1, vocabulary - 1)));
      batch.labels.push_back(static_cast<int32_t>(random.between(0, vocabulary - 1)));
    }
    batch.target_offsets.push_back(static_cast<int32_t>(batch.targets.size()));
  }
  return batch;
}

TEST_F(TrainingGpu, GradientsOfEveryOptionAreTheHostsWhereNoReluTurnsOver) {
  for (const TrainingCase& each : training_cases()) {
    for (const ActivationKind activation : {ActivationKind::gelu, ActivationKind::silu}) {
      SCOPED_TRACE(str(each.name, activation == ActivationKind::gelu ? ", gelu" : ", silu"));
      TransformerConfig config = widened(each.config);
      config.activation = activation;
      const Supervised batch =
          random_pairs(40, 12, std::min(config.source_vocabulary, config.target_vocabulary));
      TrainingTransformer host(random_model(config));
      cuda::TrainingTransformer gpu(random_model(config), 0);
      LossSettings settings = each.settings;
      settings.teacher_weight = 0;
      const LossSums found = run_on_gpu(gpu, batch, settings);
      const LossSums expected = run(host, batch, settings);
      EXPECT_NEAR(found.loss, expected.loss, 0.01 * expected.loss);
      expect_same_gradients(gpu, host, kShare);
    }
  }
}

TEST_F(TrainingGpu, DropoutIsTheHosts) {
  for (const bool prenorm : {false, true}) {
    SCOPED_TRACE(prenorm ? "norm before" : "norm after");
    const TransformerConfig config = larger(prenorm);
    const Supervised batch = random_pairs(40, 50, 1003);
    TrainingTransformer host(model::random_model(config, 3));
    cuda::TrainingTransformer gpu(model::random_model(config, 3), 0);
    const LossSettings settings{.label_smoothing = 0.1,
                                .dropout = 0.2,
                                .activation_dropout = 0.1,
                                .seed = 7,
                                .step = 3,
                                .first_row = 1000};
    const LossSums expected = run(host, batch, settings);
    const LossSums found = run_on_gpu(gpu, batch, settings);
    EXPECT_NEAR(found.loss, expected.loss, 2e-3 * expected.loss);
    expect_same_gradients(gpu, host, kShare);
    LossSettings other = settings;
    other.seed = 8;
    EXPECT_NE(run_on_gpu(gpu, batch, other).loss, found.loss);
  }
}

TEST_F(TrainingGpu, EveryRunHasTheSameBits) {
  const TransformerConfig config = larger(false);
  const Supervised batch = random_pairs(300, 70, 1003);
  cuda::TrainingTransformer gpu(model::random_model(config, 3), 0);
  LossSettings settings{.label_smoothing = 0.1, .dropout = 0.1, .seed = 7, .step = 3};
  const auto bits = [&] { return bits_of_run(gpu, batch.view(), settings); };
  const std::vector<float> first = bits();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(bits() == first) << "run " << i;
  settings.recompute = true;
  EXPECT_TRUE(bits() == first) << "with recomputation";
  settings.recompute = false;
  settings.skip_tiles = false;
  EXPECT_TRUE(bits() == first) << "without skipping tiles";
}

TEST_F(TrainingGpu, GradientsAreAddedAndScaled) {
  const TransformerConfig config = larger(true);
  const Supervised batch = random_pairs(20, 30, 1003);
  cuda::TrainingTransformer gpu(model::random_model(config, 3), 0);
  run_on_gpu(gpu, batch, {});
  const std::vector<Tensor> once = gradients_of(gpu);
  gpu.forward_backward(batch.view(), {.gradient_scale = 0.5});
  const std::vector<Tensor> more = gradients_of(gpu);
  double size = 0;
  for (size_t i = 0; i < once.size(); ++i) {
    const std::vector<float> a = numbers_of(once[i]), b = numbers_of(more[i]);
    for (size_t j = 0; j < a.size(); ++j) {
      ASSERT_NEAR(b[j], 1.5f * a[j], 0.02f * std::fabs(a[j]) + 2e-2f) << i << ", " << j;
      size += std::fabs(static_cast<double>(a[j]));
    }
  }
  EXPECT_GT(size, 1);
}

TEST_F(TrainingGpu, NothingToLearnIsZeroAndNanIsNotHidden) {
  const TransformerConfig config = larger(false);
  Supervised batch = random_pairs(10, 20, 1003);
  cuda::TrainingTransformer gpu(model::random_model(config, 3), 0);
  const std::vector<int32_t> labels = batch.labels;
  std::ranges::fill(batch.labels, -1);
  const LossSums nothing = run_on_gpu(gpu, batch, {});
  EXPECT_EQ(nothing.loss, 0);
  EXPECT_EQ(nothing.tokens, 0);
  for (const Tensor& each : gradients_of(gpu)) EXPECT_EQ(length_of(numbers_of(each)), 0);

  batch.labels = labels;
  ModelFiles files = gpu.files();
  std::vector<Tensor> values;
  for (const ParameterShape& each : gpu.shapes()) {
    values.push_back(files.parameters.require(each.name, each.shape).values);
  }
  values.back().data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  gpu.load(values);
  EXPECT_TRUE(std::isnan(run_on_gpu(gpu, batch, {}).loss));
}

TEST_F(TrainingGpu, FilesHoldTheValues) {
  const ModelFiles before = model::random_model(larger(false), 9);
  cuda::TrainingTransformer gpu(before, 0);
  const ModelFiles after = gpu.files();
  for (const ParameterShape& each : gpu.shapes()) {
    EXPECT_EQ(numbers_of(after.parameters.require(each.name, each.shape).values),
              numbers_of(before.parameters.require(each.name, each.shape).values))
        << each.name;
  }
}

TEST_F(TrainingGpu, RefusesWhatTheKernelsDoNotTake) {
  TransformerConfig config = larger(false);
  config.width = 252;
  config.encoder.heads = config.decoder.heads = 4;
  try {
    cuda::TrainingTransformer(model::random_model(config, 1), 0);
    FAIL() << "a width of 252 was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("252"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("multiple of 8"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace heddle::model
