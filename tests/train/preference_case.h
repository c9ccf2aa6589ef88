// Ranked answers to random questions, and where language_case.h has what a run needs.
#pragma once

#include <bit>
#include <numbers>
#include <string>
#include <vector>

#include "heddle/train/group_batches.h"
#include "heddle/train/preference.h"
#include "tests/train/language_case.h"

namespace heddle::train {

/// Questions with 2 to 4 answers, texts of at most 16 tokens below 48.
class RandomGroups {
 public:
  explicit RandomGroups(int count, bool shared = true, uint64_t seed = 5) {
    Random random(seed);
    for (int g = 0; g < count; ++g) {
      data::PreferenceGroup group{.question = static_cast<int32_t>(random.between(1, 8)),
                                  .answers{},
                                  .scores{},
                                  .margin = static_cast<float>(random.between(0, 2)) / 2,
                                  .shared = shared};
      const std::vector<int32_t> question = text(random, group.question, false);
      std::vector<int32_t> stored;
      const int64_t answers = random.between(2, 4);
      for (int64_t i = 0; i < answers; ++i) {
        if (i == 0 || !shared) stored.insert(stored.end(), question.begin(), question.end());
        group.answers.push_back(static_cast<int32_t>(random.between(1, 8)));
        group.scores.push_back(static_cast<float>(i == 0 ? 1 : random.below(2) == 0 ? 0 : -1));
        const std::vector<int32_t> answer = text(random, group.answers.back(), true);
        stored.insert(stored.end(), answer.begin(), answer.end());
      }
      add(group, stored);
    }
  }

  RandomGroups() = default;
  void add(const data::PreferenceGroup& group, const std::vector<int32_t>& stored) {
    for (const auto& list : {data::shape_of(group), stored}) {
      tokens_.insert(tokens_.end(), list.begin(), list.end());
      offsets_.push_back(tokens_.size());
    }
  }

  data::PreferenceGroups view() const { return {tokens_, offsets_}; }

 private:
  static std::vector<int32_t> text(Random& random, int64_t length, bool learned) {
    std::vector<int32_t> made;
    for (int64_t t = 0; t < length; ++t) {
      made.push_back(data::stored_token(static_cast<int32_t>(random.below(48)), learned));
    }
    return made;
  }

  std::vector<int32_t> tokens_;
  std::vector<uint64_t> offsets_{0};
};

/// Fails unless DPO begins where model and reference are one: a loss of ln 2, rewards of zero.
inline void expect_first_loss(LanguageTraining& model, const data::PackedBatch& batch) {
  const LossSums sums = model.loss(batch, {});
  EXPECT_NEAR(sums.loss / sums.weight, std::numbers::ln2, 1e-12);
  for (const size_t reward : {0, 1, 3}) EXPECT_NEAR(sums.figures[reward], 0, 1e-9);
  EXPECT_LT(sums.figures[4], 0);
}

/// All groups of them in one batch.
inline data::PackedBatch all_groups(const data::PreferenceGroups& groups) {
  data::PackedBatch batch;
  GroupBatches(groups, {.packing_length = 4096, .shuffle = false}, 1).open({})->next(batch);
  return batch;
}

class PreferenceRun : public LanguageCase {
 protected:
  static constexpr data::RowPackerOptions kRows{.packing_length = 60, .window = 30, .seed = 3};

  std::unique_ptr<LanguageTraining> make_preference(const PreferenceSettings& how, bool lora,
                                                    std::unique_ptr<AnswerJudge> reference = {}) {
    model::ModelFiles files = base(family_);
    model::LoraSettings settings{.rank = rank_, .alpha = 6, .dropout = 0.1};
    if (std::holds_alternative<RewardSettings>(how)) {
      files = model::with_score(std::move(files), 3);
      settings.saved = {"score"};
    }
    std::optional<model::Adapter> adapter;
    if (lora) adapter = model::new_adapter(files, settings, 3);
    return make_preference_training(std::move(files), std::move(adapter), how, std::move(reference),
                                    threads_, device_);
  }

  std::string family_ = "llama3";
  int64_t rank_ = 3;
  Device device_{};
};

/// A run of 30 steps, stopped behind `stop` (0: not); its losses.
class PreferenceSteps : public PreferenceRun {
 protected:
  enum class Reference { adapter_off, second_model, kept };
  struct How {
    PreferenceSettings settings;
    bool lora = true;
    Reference reference = Reference::adapter_off;
    bool skip_tiles = true;
    bool recompute = false;
  };

  std::vector<double> run(const std::string& folder, const How& how, int64_t stop = 0) {
    const RandomGroups groups(60, family_ == "llama3"), judged(8, false, 6);
    std::optional<ReferenceCache> kept;
    ReferenceValues values, held;
    if (how.reference == Reference::kept) {
      kept.emplace(open_reference_cache(groups.view(), 77, path("cache"), [&]() -> AskReference {
        return [judge = std::make_shared<AnswerJudge>(base(family_), threads_, device_)](
                   const auto& batch) { return (*judge)(batch); };
      }));
      values = kept->values();
    }
    std::unique_ptr<AnswerJudge> second;
    if (how.reference == Reference::second_model) {
      second = std::make_unique<AnswerJudge>(base("qwen3"), threads_, device_);
    }
    const auto model = make_preference(how.settings, how.lora, std::move(second));
    const GroupBatches batches(groups.view(), kRows, 2, values),
        validation(judged.view(), kRows, 1, held);
    TrainerSettings given = settings(folder, 30);
    given.eval_steps = how.reference == Reference::kept ? 0 : 10;
    given.loss.skip_tiles = how.skip_tiles;
    given.loss.recompute = how.recompute;
    return losses_of(*model, batches, validation, given, stop);
  }

  std::string last(const std::string& folder, const std::string& file) {
    return read(folder + "/checkpoint-30/" + file);
  }

  /// Fails unless a run that is stopped twice has the losses and files of the run `name`.
  void expect_parts_are_the_whole(const std::string& name, const How& how,
                                  const std::vector<double>& losses) {
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
};

}  // namespace heddle::train
