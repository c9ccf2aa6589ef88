// Answers to a question on a GPU against the host, where a shared question is answers one by one.
#include <gtest/gtest.h>

#include <algorithm>

#include "heddle/model/device_memory.h"
#include "tests/model/answer_case.h"
#include "tests/model/cuda_gradients.h"
#include "tests/model/cuda_language_case.h"

namespace heddle::model {
namespace {

/// A language model, or a reward model whose scores matter.
ModelFiles answering(const std::string& name, bool scores) {
  ModelFiles files = random_model(widened_language(name));
  if (!scores) return files;
  files = with_score(std::move(files), 5);
  const Tensor& score = files.parameters.find("score.weight")->values;
  for (int64_t i = 0; i < score.elements(); ++i) score.data<float>()[i] *= 4;
  return files;
}

/// What is trained: all weights, or adapters (of DoRA where the second is true).
struct Trained {
  bool lora = false, dora = false;
};

Adapter adapter_of(const ModelFiles& files, const Trained& what) {
  LoraSettings lora{.rank = 8, .alpha = 16, .dropout = 0.1, .use_dora = what.dora};
  if (files.config.scores) lora.saved = {"score"};
  return random_adapter(files, lora);
}

cuda::TrainingTransformer on_gpu(const ModelFiles& files, const Trained& what) {
  if (!what.lora) return {files, 0};
  return {files, adapter_of(files, what), 0};
}

TrainingTransformer on_host(const ModelFiles& files, const Trained& what) {
  if (!what.lora) return TrainingTransformer(files);
  return {files, adapter_of(files, what)};
}

class AnswersGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }

  static int64_t longest(const ModelFiles& files) {
    return files.config.window > 0 ? files.config.window : 24;
  }

  /// Sums of ln p have an error of their own in bf16, so slopes have, too: less with a small β.
  static PairLoss loss_of(const ModelFiles& files) {
    return PairLoss(files.config.scores ? 0.5 : 0.1);
  }

  static void expect_hosts(const ModelFiles& files, const Trained& what, const AnswerCase& groups) {
    const PairLoss loss = loss_of(files);
    TrainingTransformer host = on_host(files, what);
    cuda::TrainingTransformer gpu = on_gpu(files, what);
    const LossSettings settings{.gradient_scale = 0.5, .seed = 7, .step = 3};
    const LossSums expected = host.forward_backward(groups.batch(loss), settings);
    const LossSums found = run_on_gpu(gpu, groups.batch(loss), settings);
    EXPECT_NEAR(found.loss, expected.loss, 0.02 * expected.loss);
    EXPECT_EQ(found.weight, expected.weight);
    EXPECT_EQ(found.tokens, expected.tokens);
    expect_same_gradients(gpu, host, 1.5 * kLanguageShare);  // slopes carry errors of their own
  }
};

TEST_F(AnswersGpu, SharedQuestionsAreTheHosts) {
  for (const char* name : {"llama", "qwen2", "gemma3"}) {
    for (const bool scores : {false, true}) {
      const ModelFiles files = answering(name, scores);
      for (int answers = 2; answers <= 6; ++answers) {
        const AnswerCase groups(5, answers, longest(files), true);
        for (const Trained& what : {Trained{}, Trained{.lora = true}}) {
          SCOPED_TRACE(str(name, scores ? ", scores, " : ", ", answers, " answers",
                           what.lora ? ", adapter" : ""));
          expect_hosts(files, what, groups);
        }
      }
    }
  }
}

TEST_F(AnswersGpu, LongQuestionsAreTheHosts) {
  for (const bool scores : {false, true}) {
    const ModelFiles files = answering("llama", scores);
    SCOPED_TRACE(scores);
    expect_hosts(files, {}, AnswerCase(3, 4, 300, true));
  }
}

TEST_F(AnswersGpu, QuestionsApartAreTheHostsWithinAWindow) {
  for (const bool scores : {false, true}) {
    SCOPED_TRACE(scores);
    const ModelFiles files = answering("gemma3", scores);
    expect_hosts(files, {.lora = true}, AnswerCase(4, 3, 3 * files.config.window, false));
  }
}

TEST_F(AnswersGpu, SharedIsApart) {
  for (const bool scores : {false, true}) {
    SCOPED_TRACE(scores);
    const ModelFiles files = answering("llama", scores);
    const PairLoss loss = loss_of(files);
    const AnswerCase shared(6, 4, 60, true), apart(6, 4, 60, false);
    cuda::TrainingTransformer gpu = on_gpu(files, {.lora = true});
    const double once = gpu.loss(shared.batch(loss), {}).loss;
    EXPECT_NEAR(gpu.loss(apart.batch(loss), {}).loss, once, 0.01 * once);
  }
}

TEST_F(AnswersGpu, EveryRunHasTheSameBits) {
  for (const bool scores : {false, true}) {
    const ModelFiles files = answering("llama", scores);
    const PairLoss loss = loss_of(files);
    const AnswerCase groups(6, 3, 400, true);
    for (const Trained& what :
         {Trained{}, Trained{.lora = true}, Trained{.lora = true, .dora = true}}) {
      SCOPED_TRACE(str(scores ? "scores, " : "", what.dora ? "DoRA" : what.lora ? "LoRA" : "all"));
      cuda::TrainingTransformer gpu = on_gpu(files, what);
      LossSettings settings{.seed = 7, .step = 3};
      const auto bits = [&] { return bits_of_run(gpu, groups.batch(loss), settings); };
      const std::vector<float> first = bits();
      EXPECT_TRUE(bits() == first) << "another run";
      const auto laid_out = gpu.lay_out(groups.batch(loss));
      gpu.loss(groups.batch(loss), {.base_alone = true}, laid_out.get());
      EXPECT_TRUE(bits() == first) << "after the reference";
      settings.recompute = true;
      EXPECT_TRUE(bits() == first) << "with recomputation";
      settings.recompute = false;
      settings.skip_tiles = false;
      EXPECT_TRUE(bits() == first) << "without skipping tiles";
    }
  }
}

TEST_F(AnswersGpu, TheBaseAloneIsTheBase) {
  const ModelFiles files = answering("llama", false);
  const PairLoss loss(0.1);
  const AnswerCase groups(4, 2, 24, true);
  const double base = cuda::TrainingTransformer(files, 0).loss(groups.batch(loss), {}).loss;
  for (const bool dora : {false, true}) {
    cuda::TrainingTransformer gpu = on_gpu(files, {.lora = true, .dora = dora});
    EXPECT_EQ(gpu.loss(groups.batch(loss), {.base_alone = true}).loss, base);
    EXPECT_NE(gpu.loss(groups.batch(loss), {}).loss, base);
  }
}

TEST_F(AnswersGpu, MemoryIsWhatWasPlanned) {
  TransformerConfig config = widened_language("llama", 64);
  config.width = 512;
  config.decoder.ffn_width = 1536;
  const ModelFiles files = random_model(config);
  const LoraSettings lora{.rank = 8, .alpha = 16};
  const AnswerCase groups(8, 6, 1200, true, 3);
  const PairLoss loss(0.1);
  const auto tokens = std::ssize(groups.tokens);
  int64_t labels = std::ranges::count_if(groups.labels, [](int32_t label) { return label >= 0; });
  for (const auto& each : groups.lengths) labels += std::ssize(each);
  for (const bool trains : {false, true}) {
    SCOPED_TRACE(trains);
    cuda::TrainingTransformer gpu(files, random_adapter(files, lora), 0);
    const DeviceActivations plan = device_activations(
        config, {.tokens = tokens, .labels = labels, .lora = &lora, .trains = trains});
    if (trains) {
      run_on_gpu(gpu, groups.batch(loss), {});
    } else {
      gpu.loss(groups.batch(loss), {});
    }
    const auto planned = static_cast<double>(plan.values + plan.gradients + plan.scratch);
    // More would be a second block in one of the three places.
    EXPECT_NEAR(static_cast<double>(gpu.workspace_bytes()), planned, 0.02 * planned);
  }
}

}  // namespace
}  // namespace heddle::model
