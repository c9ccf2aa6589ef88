// Ranked answers to random questions, and where language_case.h has what a run needs.
#pragma once

#include <bit>
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
    model::LoraSettings settings{.rank = 3, .alpha = 6, .dropout = 0.1};
    if (std::holds_alternative<RewardSettings>(how)) {
      files = model::with_score(std::move(files), 3);
      settings.saved = {"score"};
    }
    std::optional<model::Adapter> adapter;
    if (lora) adapter = model::new_adapter(files, settings, 3);
    return make_preference_training(std::move(files), std::move(adapter), how, std::move(reference),
                                    threads_);
  }

  std::string family_ = "llama3";
};

}  // namespace heddle::train
