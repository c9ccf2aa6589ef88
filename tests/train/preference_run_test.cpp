// Runs on ranked answers: they go on to the bit, skipping changes none, logs have TRL's names.
#include <gtest/gtest.h>

#include "tests/train/preference_case.h"

namespace heddle::train {
namespace {

TEST_F(PreferenceSteps, GoOnToTheBit) {
  const std::pair<std::string, How> cases[] = {
      {"lora", {.settings = DpoSettings{.rpo_alpha = 0.1}}},
      {"reward-lora", {.settings = RewardSettings{}}},
      {"dpo", {.settings = DpoSettings{}, .lora = false, .reference = Reference::second_model}},
      {"kept",
       {.settings = DpoSettings{.loss_type = DpoLossType::ipo},
        .lora = false,
        .reference = Reference::kept}},
      {"rm", {.settings = RewardSettings{0.01}, .lora = false}},
  };
  for (const auto& [name, how] : cases) {
    if (heddle::testing::kSanitized && name != "lora" && name != "rm") continue;
    SCOPED_TRACE(name);
    family_ = how.lora ? "llama3" : "gemma3";  // questions shared, and not
    const std::vector<double> losses = run(name, how);
    ASSERT_EQ(losses.size(), 30u);
    EXPECT_LT(losses.back(), losses.front());
    expect_parts_are_the_whole(name, how, losses);
  }
}

TEST_F(PreferenceSteps, SkippingChangesNoBitOfManySteps) {
  for (const bool rewards : {false, true}) {
    const std::string name = rewards ? "rm" : "dpo";
    How how{.settings = rewards ? PreferenceSettings(RewardSettings{})
                                : DpoSettings{.reference_free = true},
            .lora = false};
    const std::vector<double> losses = run(name, how);
    how.skip_tiles = false;
    EXPECT_EQ(run(name + "-all", how), losses);
    EXPECT_EQ(last(name, "master_weights.safetensors"),
              last(name + "-all", "master_weights.safetensors"));
  }
}

TEST_F(PreferenceSteps, LogsHaveTheNamesOfTrl) {
  run("dpo", {.settings = DpoSettings{.reference_free = true}, .lora = false});
  run("rm", {.settings = RewardSettings{}, .lora = false});
  const std::string dpo = read("dpo/log.jsonl"), rm = read("rm/log.jsonl");
  for (const std::string_view name : kDpoFigures) {
    EXPECT_NE(dpo.find(str('"', name, "\":")), dpo.npos) << name;
    EXPECT_NE(dpo.find(str("\"eval_", name, "\":")), dpo.npos) << name;
  }
  for (const std::string_view name : kRewardFigures) {
    EXPECT_NE(rm.find(str('"', name, "\":")), rm.npos) << name;
  }
  EXPECT_EQ(rm.find("\"nll\""), rm.npos);
  EXPECT_EQ(rm.find("perplexity"), rm.npos);
}

}  // namespace
}  // namespace heddle::train
