// Fine-tuning on a GPU beside the host's: it learns as fast, goes on to the bit, and what it writes
// is read by either.
#include <cmath>

#include "heddle/model/formats/peft.h"
#include "heddle/tensor/cuda.h"
#include "heddle/train/memory_plan.h"
#include "tests/train/language_case.h"

namespace heddle::train {
namespace {

class LanguageTrainingRunGpu : public LanguageCase {
 protected:
  static constexpr data::RowPackerOptions kRows{.packing_length = 40, .window = 30, .seed = 3};
  static constexpr Device kGpu{DeviceType::cuda, 0};

  void SetUp() override {
    LanguageCase::SetUp();
    if (heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }

  struct How {
    std::optional<model::LoraSettings> lora;
    int state_bits = 32;
    bool recompute = false;
  };
  static model::LoraSettings adapter() { return {.rank = 8, .alpha = 16, .dropout = 0.1}; }

  std::unique_ptr<LanguageTraining> make_on(Device device, const How& how) {
    model::ModelFiles files = base();
    std::optional<model::Adapter> made;
    if (how.lora) made = model::new_adapter(files, *how.lora, 3);
    return make_language_training(std::move(files), std::move(made), device, threads_);
  }

  /// Trains to `last`, or until `stop` steps are done; returns the losses.
  std::vector<double> run(const std::string& folder, Device device, const How& how, int64_t last,
                          int64_t stop = 0) {
    const auto model = make_on(device, how);
    const RandomExamples examples(70), judged(9, 6);
    const RowBatches batches(examples.view(), kRows, 2), validation(judged.view(), kRows, 1);
    TrainerSettings given = settings(folder, last);
    given.eval_steps = 10;
    given.optimizer.state_bits = how.state_bits;
    given.loss.recompute = how.recompute;
    return losses_of(*model, batches, validation, given, stop);
  }
};

TEST_F(LanguageTrainingRunGpu, LossesFallAsOnTheHost) {
  model::LoraSettings whole = adapter();
  whole.saved = {"embed_tokens", "input_layernorm"};
  const How hows[] = {
      {.lora = adapter()}, {.lora = adapter(), .state_bits = 8}, {.lora = whole}, {.lora = {}}};
  for (const How& how : hows) {
    const std::string name =
        str(how.lora ? how.lora->saved.empty() ? "lora" : "saved" : "full", how.state_bits);
    SCOPED_TRACE(name);
    const std::vector<double> expected = run(name + "_host", {}, how, 20);
    const std::vector<double> found = run(name, kGpu, how, 20);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i], expected[i], (i < 3 ? 0.01 : 0.03) * expected[i]) << "step " << i;
    }
    EXPECT_LT(found.back(), found.front());
  }
}

TEST_F(LanguageTrainingRunGpu, GoesOnToTheBit) {
  model::LoraSettings whole = adapter();
  whole.saved = {"embed_tokens", "input_layernorm"};
  for (const auto& how : {How{.lora = whole}, How{.lora = adapter(), .state_bits = 8}, How{}}) {
    const std::string name =
        how.lora ? how.lora->saved.empty() ? "lora" : "saved" : std::string("full");
    SCOPED_TRACE(name);
    const std::vector<double> losses = run(name, kGpu, how, 40);
    ASSERT_EQ(losses.size(), 40u);
    std::vector<double> parts = run(name + "2", kGpu, how, 40, 7);
    for (const int64_t stop : {int64_t{16}, int64_t{0}}) {
      for (const double loss : run(name + "2", kGpu, how, 40, stop)) parts.push_back(loss);
    }
    EXPECT_EQ(parts, losses);
    for (const char* file : {"master_weights.safetensors", "optimizer.safetensors",
                             how.lora ? "adapter_model.safetensors" : "model.safetensors"}) {
      const std::string first = read(name + "/checkpoint-40/" + file);
      EXPECT_EQ(first, read(name + "2/checkpoint-40/" + file)) << file;
      EXPECT_FALSE(first.empty()) << file;
    }
  }
}

TEST_F(LanguageTrainingRunGpu, RecomputedIsTheSame) {
  const std::vector<double> kept = run("kept", kGpu, {.lora = adapter()}, 12);
  EXPECT_EQ(run("again", kGpu, {.lora = adapter(), .recompute = true}, 12), kept);
}

TEST_F(LanguageTrainingRunGpu, TheHostGoesOnFromItsCheckpoints) {
  const std::vector<double> all = run("whole", kGpu, {.lora = adapter()}, 20);
  run("moved", kGpu, {.lora = adapter()}, 20, 10);
  const std::vector<double> rest = run("moved", {}, {.lora = adapter()}, 20);
  ASSERT_EQ(rest.size(), 10u);
  EXPECT_NEAR(rest.front(), all[10], 0.02 * all[10]);

  const model::ModelFiles files = base();
  const model::Adapter made = model::load_adapter(path("whole/checkpoint-20"), files.config);
  const RandomExamples judged(9, 6);
  const RowBatches rows(judged.view(), kRows, 1);
  data::PackedBatch batch;
  ASSERT_TRUE(rows.open({})->next(batch));
  const double host = make_language_training(files, made, {}, threads_)->loss(batch, {}).loss;
  EXPECT_NEAR(make_language_training(files, made, kGpu, threads_)->loss(batch, {}).loss, host,
              0.01 * host);
  // An adapter of nothing is the base.
  const model::Adapter none{.settings = {.targets = {}}, .base = {}, .parameters = {}};
  const double plain = make_language_training(files, none, {}, threads_)->loss(batch, {}).loss;
  EXPECT_NEAR(make_language_training(files, none, kGpu, threads_)->loss(batch, {}).loss, plain,
              0.01 * plain);
}

}  // namespace
}  // namespace heddle::train
