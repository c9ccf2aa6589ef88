// Ranked answers on a GPU beside the host: DPO begins at ln 2 whatever the reference is, losses are
// the host's, and runs go on to the bit.
#include <cmath>

#include "heddle/model/formats/peft.h"
#include "heddle/tensor/cuda.h"
#include "tests/train/preference_case.h"

namespace heddle::train {
namespace {

class PreferenceRunGpu : public PreferenceSteps {
 protected:
  static constexpr Device kGpu{DeviceType::cuda, 0};

  void SetUp() override {
    PreferenceSteps::SetUp();
    if (heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
    device_ = kGpu;
    rank_ = 8;
  }

  std::unique_ptr<AnswerJudge> judge(Device device) {
    return std::make_unique<AnswerJudge>(base(family_), threads_, device);
  }
};

TEST_F(PreferenceRunGpu, TheFirstStepOfDpoHasLossLn2) {
  for (const char* family : {"llama3", "gemma3"}) {  // this one has a window of 8 tokens
    family_ = family;
    SCOPED_TRACE(family);
    const RandomGroups groups(40, family_ == "llama3");
    data::PackedBatch batch = all_groups(groups.view());
    const DpoSettings dpo;
    const auto expect_ln2 = [&](LanguageTraining& model) { expect_first_loss(model, batch); };
    // Adapters off, a second model, what was kept of it.
    const auto adapted = make_preference(dpo, true);
    expect_ln2(*adapted);
    adapted->prepare(batch);
    expect_ln2(*adapted);
    batch.prepared.reset();
    expect_ln2(*make_preference(dpo, false, judge(kGpu)));
    batch.reference = (*judge(kGpu))(batch);
    expect_ln2(*make_preference(dpo, false));
    batch.reference.clear();
    heddle::testing::expect_refused([&] { make_preference(dpo, false)->loss(batch, {}); },
                                    {"found no reference", "precompute_ref_log_probs"});
  }
}

TEST_F(PreferenceRunGpu, ValuesAreTheHosts) {
  const RandomGroups groups(40);
  const data::PackedBatch batch = all_groups(groups.view());
  const std::vector<double> expected = (*judge({}))(batch), found = (*judge(kGpu))(batch);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 0.15) << i;
}

TEST_F(PreferenceRunGpu, LossesAreTheHosts) {
  const std::pair<std::string, How> cases[] = {
      {"lora", {.settings = DpoSettings{}}},
      {"smoothed", {.settings = DpoSettings{.label_smoothing = 0.1, .rpo_alpha = 0.3}}},
      {"norm", {.settings = DpoSettings{.loss_type = DpoLossType::sigmoid_norm, .beta = 0.4}}},
      {"robust",
       {.settings = DpoSettings{.loss_type = DpoLossType::robust, .label_smoothing = 0.2}}},
      {"ipo", {.settings = DpoSettings{.loss_type = DpoLossType::ipo, .beta = 0.4}}},
      {"hinge", {.settings = DpoSettings{.loss_type = DpoLossType::hinge}}},
      {"free", {.settings = DpoSettings{.reference_free = true}, .lora = false}},
      {"dpo", {.settings = DpoSettings{}, .lora = false, .reference = Reference::second_model}},
      {"rm-lora", {.settings = RewardSettings{}}},
      {"rm", {.settings = RewardSettings{0.01}, .lora = false}},
  };
  for (const auto& [name, how] : cases) {
    SCOPED_TRACE(name);
    device_ = {};
    const std::vector<double> expected = run(name + "_host", how);
    device_ = kGpu;
    const std::vector<double> found = run(name, how);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(found[i], expected[i], 0.02 * (1 + std::abs(expected[i]))) << "step " << i;
    }
    EXPECT_NEAR(found.back(), expected.back(), 0.2 * (0.2 + std::abs(expected.back())));
    EXPECT_LT(found.back(), found.front());
  }
}

TEST_F(PreferenceRunGpu, GoOnToTheBit) {
  const std::pair<std::string, How> cases[] = {
      {"lora", {.settings = DpoSettings{.rpo_alpha = 0.1}}},
      {"reward-lora", {.settings = RewardSettings{}}},
      {"kept",
       {.settings = DpoSettings{.loss_type = DpoLossType::ipo},
        .lora = false,
        .reference = Reference::kept}},
      {"rm", {.settings = RewardSettings{0.01}, .lora = false}},
  };
  for (const auto& [name, how] : cases) {
    SCOPED_TRACE(name);
    family_ = how.lora ? "llama3" : "gemma3";  // questions shared, and not
    const std::vector<double> losses = run(name, how);
    ASSERT_EQ(losses.size(), 30u);
    expect_parts_are_the_whole(name, how, losses);
  }
}

TEST_F(PreferenceRunGpu, SkippingAndRecomputationChangeNoBit) {
  for (const bool rewards : {false, true}) {
    const std::string name = rewards ? "rm" : "dpo";
    How how{.settings = rewards ? PreferenceSettings(RewardSettings{}) : DpoSettings{}};
    const std::vector<double> losses = run(name, how);
    how.skip_tiles = false;
    EXPECT_EQ(run(name + "-all", how), losses);
    how.skip_tiles = true;
    how.recompute = true;
    EXPECT_EQ(run(name + "-again", how), losses);
    for (const char* other : {"-all", "-again"}) {
      EXPECT_EQ(last(name, "master_weights.safetensors"),
                last(name + other, "master_weights.safetensors"));
    }
  }
}

TEST_F(PreferenceRunGpu, TheHostReadsItsRewardModels) {
  const RandomGroups groups(20);
  const data::PackedBatch batch = all_groups(groups.view());
  const auto trained = make_preference(RewardSettings{}, false);
  trained->save_result(path("rm"), io::system_files());
  const model::ModelFiles files = model::load_model(path("rm"));
  EXPECT_TRUE(files.config.scores);
  const std::vector<double> host = AnswerJudge(files, threads_)(batch),
                            gpu = AnswerJudge(files, threads_, kGpu)(batch);
  for (size_t i = 0; i < host.size(); ++i) EXPECT_NEAR(gpu[i], host[i], 0.02) << i;
}

}  // namespace
}  // namespace heddle::train
