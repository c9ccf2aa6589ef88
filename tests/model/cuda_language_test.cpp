// Language models and their adapters on a GPU against the host, which is PyTorch's and PEFT's to
// 1e-4.
#include <gtest/gtest.h>

#include <algorithm>

#include "heddle/base/random.h"
#include "heddle/model/device_memory.h"
#include "tests/model/cuda_gradients.h"
#include "tests/model/cuda_language_case.h"

namespace heddle::model {
namespace {

/// Texts of random tokens, of which `learned` in a hundred are.
struct Texts {
  std::vector<int32_t> tokens, offsets{0}, labels;

  Texts(const std::vector<int64_t>& lengths, int64_t vocabulary, uint64_t learned, uint64_t seed) {
    Random random(seed);
    for (const int64_t length : lengths) {
      for (int64_t t = 0; t < length; ++t) {
        tokens.push_back(static_cast<int32_t>(random.between(0, vocabulary - 1)));
        const bool has_label = t + 1 < length && random.below(100) < learned;
        labels.push_back(has_label ? static_cast<int32_t>(random.between(0, vocabulary - 1)) : -1);
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
    }
  }
  TrainingBatch view() const {
    return {.pair = {.targets = tokens, .target_offsets = offsets}, .labels = labels};
  }
  /// Text s alone.
  Texts alone(size_t s) const {
    Texts one({}, 1, 0, 0);
    const auto begin = offsets[s], end = offsets[s + 1];
    one.tokens.assign(tokens.begin() + begin, tokens.begin() + end);
    one.labels.assign(labels.begin() + begin, labels.begin() + end);
    one.offsets.push_back(end - begin);
    return one;
  }
};

class LanguageTrainingGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }

  const Texts texts_{{40, 1, 7, 90, 2, 33}, 1003, 60, 5};
};

TEST_F(LanguageTrainingGpu, LossAndGradientsAreTheHostsForEveryFamily) {
  for (const std::string& name : language_names()) {
    SCOPED_TRACE(name);
    const TransformerConfig config = widened_language(name);
    TrainingTransformer host(random_model(config));
    cuda::TrainingTransformer gpu(random_model(config), 0);
    const LossSums expected = host.forward_backward(texts_.view(), {.label_smoothing = 0.1});
    const LossSums found = run_on_gpu(gpu, texts_.view(), {.label_smoothing = 0.1});
    EXPECT_NEAR(found.loss, expected.loss, 0.01 * expected.loss);
    EXPECT_EQ(found.tokens, expected.tokens);
    EXPECT_NEAR(gpu.loss(texts_.view(), {.label_smoothing = 0.1}).loss, found.loss,
                3e-3 * found.loss);
    expect_same_gradients(gpu, host, kLanguageShare);
  }
}

TEST_F(LanguageTrainingGpu, HeadsOfEveryWidth) {
  for (const char* name : {"qwen3", "gemma3"}) {
    for (const int64_t width : {8, 64, 96, 128, 256}) {
      SCOPED_TRACE(str(name, ", heads of ", width));
      const TransformerConfig config = widened_language(name, width);
      TrainingTransformer host(random_model(config));
      cuda::TrainingTransformer gpu(random_model(config), 0);
      host.forward_backward(texts_.view(), {});
      run_on_gpu(gpu, texts_.view(), {});
      expect_same_gradients(gpu, host, kLanguageShare);
    }
  }
}

TEST_F(LanguageTrainingGpu, AdaptersAreTheHosts) {
  struct Case {
    const char* name;
    LoraSettings settings;
  };
  const Case cases[] = {
      {"llama", {.rank = 8, .alpha = 16}},
      {"llama31", {.rank = 16, .alpha = 16, .dropout = 0.2, .use_rslora = true}},
      {"qwen2", {.rank = 8, .alpha = 32, .targets = {"q_proj", "v_proj"}}},
      {"mistral", {.rank = 64, .alpha = 16, .targets = {"k_proj", "down_proj"}}},
      {"qwen3", {.rank = 8, .alpha = 16, .dropout = 0.1, .saved = {"q_norm", "norm"}}},
      {"gemma3", {.rank = 24, .alpha = 16, .saved = {"embed_tokens", "input_layernorm"}}},
      {"llama", {.rank = 8, .alpha = 16, .targets = {"q_proj"}, .saved = {"lm_head", "v_proj"}}},
      {"qwen2", {.rank = 8, .alpha = 16, .targets = {"o_proj"}, .saved = {"k_proj"}}},
      {"llama", {.rank = 8, .alpha = 16, .use_dora = true}},
      {"gemma3", {.rank = 8, .alpha = 16, .dropout = 0.1, .use_dora = true, .saved = {"norm"}}},
      {"qwen2", {.rank = 16, .alpha = 16, .use_dora = true, .targets = {"v_proj", "up_proj"}}},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(str(each.name, ", rank ", each.settings.rank));
    const ModelFiles base = random_model(widened_language(each.name));
    const Adapter adapter = random_adapter(base, each.settings);
    TrainingTransformer host(base, adapter);
    cuda::TrainingTransformer gpu(base, adapter, 0);
    const LossSettings settings{.seed = 7, .step = 3, .first_row = 1000};
    const LossSums expected = host.forward_backward(texts_.view(), settings);
    const LossSums found = run_on_gpu(gpu, texts_.view(), settings);
    EXPECT_NEAR(found.loss, expected.loss, 0.01 * expected.loss);
    expect_same_gradients(gpu, host, kLanguageShare);
  }
}

TEST_F(LanguageTrainingGpu, TrainedModulesAreReadWhereTheyAreWritten) {
  const LoraSettings settings{.rank = 8,
                              .alpha = 16,
                              .use_dora = true,
                              .targets = {"o_proj"},
                              .saved = {"embed_tokens", "k_proj", "norm"}};
  const ModelFiles base = random_model(widened_language("qwen2"));
  const Adapter adapter = random_adapter(base, settings);
  cuda::TrainingTransformer gpu(base, adapter, 0);
  const double before = gpu.loss(texts_.view(), {}).loss;
  // Other values, as an optimiser writes them; then the same in another model from the beginning.
  Adapter changed = gpu.adapter();
  std::vector<Tensor> values;
  for (const ParameterShape& each : gpu.shapes()) {
    const Tensor& tensor = changed.parameters.require(each.name, each.shape).values;
    for (int64_t i = 0; i < tensor.elements(); ++i) tensor.data<float>()[i] *= 1.25f;
    values.push_back(tensor);
  }
  gpu.load(values);
  cuda::TrainingTransformer other(base, changed, 0);
  const double after = gpu.loss(texts_.view(), {}).loss;
  EXPECT_NE(after, before);
  EXPECT_EQ(after, other.loss(texts_.view(), {}).loss);
}

TEST_F(LanguageTrainingGpu, EveryRunHasTheSameBits) {
  for (const char* name : {"llama", "gemma3", "qwen2_window"}) {
    SCOPED_TRACE(name);
    const ModelFiles base = random_model(widened_language(name, 64));
    const Texts texts({700, 3, 500, 120, 800}, 1003, 50, 9);
    cuda::TrainingTransformer whole(base, 0);
    cuda::TrainingTransformer adapted(
        base, random_adapter(base, {.rank = 8, .alpha = 16, .dropout = 0.1}), 0);
    cuda::TrainingTransformer decomposed(
        base, random_adapter(base, {.rank = 8, .alpha = 16, .dropout = 0.1, .use_dora = true}), 0);
    for (cuda::TrainingTransformer* gpu : {&whole, &adapted, &decomposed}) {
      SCOPED_TRACE(gpu == &whole ? "all weights" : gpu == &adapted ? "adapter" : "DoRA");
      LossSettings settings{.seed = 7, .step = 3};
      const auto bits = [&] { return bits_of_run(*gpu, texts.view(), settings); };
      const std::vector<float> first = bits();
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(bits() == first) << "run " << i;
      settings.recompute = true;
      EXPECT_TRUE(bits() == first) << "with recomputation";
      settings.recompute = false;
      settings.skip_tiles = false;
      EXPECT_TRUE(bits() == first) << "without skipping tiles";
    }
  }
}

TEST_F(LanguageTrainingGpu, PackedIsOneByOne) {
  for (const char* name : {"llama", "gemma3"}) {
    SCOPED_TRACE(name);
    const ModelFiles base = random_model(widened_language(name));
    cuda::TrainingTransformer gpu(base, random_adapter(base, {.rank = 8, .alpha = 16}), 0);
    const LossSums together = run_on_gpu(gpu, texts_.view(), {});
    const std::vector<Tensor> packed = gradients_of(gpu);
    gpu.parameters().zero_gradients();
    LossSums apart;
    for (size_t s = 0; s + 1 < texts_.offsets.size(); ++s) {
      const Texts one = texts_.alone(s);
      apart += gpu.forward_backward(one.view(), {});
    }
    EXPECT_NEAR(together.loss, apart.loss, 1e-3 * apart.loss);
    const std::vector<Tensor> alone = gradients_of(gpu);
    for (size_t i = 0; i < packed.size(); ++i) {
      std::vector<float> difference = numbers_of(packed[i]);
      const std::vector<float> expected = numbers_of(alone[i]);
      for (size_t j = 0; j < difference.size(); ++j) difference[j] -= expected[j];
      EXPECT_LE(length_of(difference), 0.02 * length_of(expected) + 1e-4) << gpu.shapes()[i].name;
    }
  }
}

TEST_F(LanguageTrainingGpu, MemoryIsWhatWasPlanned) {
  for (const char* name : {"llama", "gemma3", "qwen3"}) {
    for (const bool recompute : {false, true}) {
      for (const int kind : {0, 1, 2}) {
        const double dropout = kind == 1 ? 0.1 : 0;
        SCOPED_TRACE(str(name, recompute ? ", recomputed" : "", ", kind ", kind));
        TransformerConfig config = widened_language(name, 64);
        config.width = 512;
        config.decoder.ffn_width = 1536;
        const LoraSettings settings{
            .rank = 8, .alpha = 16, .dropout = dropout, .use_dora = kind == 2};
        const ModelFiles base = random_model(config);
        cuda::TrainingTransformer gpu(base, random_adapter(base, settings), 0);
        const Texts texts({8000, 8384}, 1003, 100, 9);
        run_on_gpu(gpu, texts.view(), {.recompute = recompute});
        const DeviceActivations plan = device_activations(
            config, {.tokens = 16384, .labels = 16384, .lora = &settings, .recompute = recompute});
        const auto planned = static_cast<double>(plan.values + plan.gradients + plan.scratch);
        // More would be a second block in one of the three places.
        EXPECT_NEAR(static_cast<double>(gpu.workspace_bytes()), planned, 0.01 * planned);
        run_on_gpu(gpu, texts.view(), {.recompute = recompute});
        EXPECT_NEAR(static_cast<double>(gpu.workspace_bytes()), planned, 0.01 * planned);
      }
    }
  }
}

TEST_F(LanguageTrainingGpu, RefusesWhatIsNotThere) {
  const ModelFiles base = random_model(widened_language("llama"));
  try {
    cuda::TrainingTransformer(base, new_adapter(base, {.rank = 4, .alpha = 8}, 1), 0);
    FAIL() << "rank 4 was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("on a GPU"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace heddle::model
