// Runs on ranked answers: they go on to the bit, skipping changes none, logs have TRL's names.
#include <gtest/gtest.h>

#include "tests/train/preference_case.h"

namespace heddle::train {
namespace {

/// A run of 30 steps, stopped behind `stop` (0: not); its losses.
class PreferenceSteps : public PreferenceRun {
 protected:
  enum class Reference { adapter_off, second_model, kept };
  struct How {
    PreferenceSettings settings;
    bool lora = true;
    Reference reference = Reference::adapter_off;
    bool skip_tiles = true;
  };

  std::vector<double> run(const std::string& folder, const How& how, int64_t stop = 0) {
    const RandomGroups groups(60, family_ == "llama3"), judged(8, false, 6);
    std::optional<ReferenceCache> kept;
    ReferenceValues values, held;
    if (how.reference == Reference::kept) {
      kept.emplace(open_reference_cache(groups.view(), 77, path("cache"), [&]() -> AskReference {
        return [judge = std::make_shared<AnswerJudge>(base(family_), threads_)](const auto& batch) {
          return (*judge)(batch);
        };
      }));
      values = kept->values();
    }
    std::unique_ptr<AnswerJudge> second;
    if (how.reference == Reference::second_model) {
      second = std::make_unique<AnswerJudge>(base("qwen3"), threads_);
    }
    const auto model = make_preference(how.settings, how.lora, std::move(second));
    const GroupBatches batches(groups.view(), kRows, 2, values),
        validation(judged.view(), kRows, 1, held);
    TrainerSettings given = settings(folder, 30);
    given.eval_steps = how.reference == Reference::kept ? 0 : 10;
    given.loss.skip_tiles = how.skip_tiles;
    std::vector<double> losses;
    TrainerHooks hooks;
    hooks.report = [&](const Report& report) { losses.push_back(report.loss); };
    hooks.stop_requested = [&] { return stop > 0 && std::ssize(losses) >= stop; };
    train::train(*model, batches, &validation, given, hooks);
    return losses;
  }

  std::string last(const std::string& folder, const std::string& file) {
    return read(folder + "/checkpoint-30/" + file);
  }
};

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
    std::vector<double> parts = run(name + "2", how, 7);
    for (const int64_t stop : {int64_t{11}, int64_t{0}}) {
      for (const double loss : run(name + "2", how, stop)) parts.push_back(loss);
    }
    EXPECT_EQ(parts, losses);
    for (const char* file : {"master_weights.safetensors", "optimizer.safetensors",
                             how.lora ? "adapter_model.safetensors" : "model.safetensors"}) {
      EXPECT_FALSE(last(name, file).empty());
      EXPECT_EQ(last(name, file), last(name + "2", file)) << file;
    }
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
