// A tiny language model with random texts to learn.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "heddle/base/random.h"
#include "heddle/data/token_examples.h"
#include "heddle/model/formats/formats.h"
#include "heddle/train/language.h"
#include "heddle/train/trainer.h"
#include "tests/io/files.h"

namespace heddle::train {

/// Examples of 2 to 20 tokens below 48; about half of their tokens are learned.
class RandomExamples {
 public:
  explicit RandomExamples(int count, uint64_t seed = 5) {
    Random random(seed);
    for (int i = 0; i < count; ++i) {
      const int64_t length = random.between(2, 20);
      for (int64_t t = 0; t < length; ++t) {
        const bool learned = t > 0 && (t == length - 1 || random.below(2) == 0);
        tokens_.push_back(data::stored_token(static_cast<int32_t>(random.below(48)), learned));
      }
      offsets_.push_back(tokens_.size());
    }
  }
  data::TokenExamples view() const { return {tokens_, offsets_}; }

 private:
  std::vector<int32_t> tokens_;
  std::vector<uint64_t> offsets_{0};
};

/// Trains until all, or `stop`, steps are done; returns the losses.
inline std::vector<double> losses_of(LanguageTraining& model, const BatchSource& batches,
                                     const BatchSource& validation, const TrainerSettings& settings,
                                     int64_t stop) {
  std::vector<double> losses;
  TrainerHooks hooks;
  hooks.report = [&](const Report& report) { losses.push_back(report.loss); };
  hooks.stop_requested = [&] { return stop > 0 && std::ssize(losses) >= stop; };
  train::train(model, batches, &validation, settings, hooks);
  return losses;
}

class LanguageCase : public heddle::testing::FolderTest {
 protected:
  static model::ModelFiles base(const std::string& name = "gemma3") {
    return model::load_model(std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" /
                             "language_models" / name);
  }

  static model::LoraSettings lora() { return {.rank = 3, .alpha = 6, .dropout = 0.1}; }

  std::unique_ptr<LanguageTraining> make(const std::optional<model::LoraSettings>& settings) {
    model::ModelFiles files = base();
    std::optional<model::Adapter> adapter;
    if (settings) adapter = model::new_adapter(files, *settings, 3);
    return make_language_training(std::move(files), std::move(adapter), {}, threads_);
  }

  TrainerSettings settings(const std::string& folder, int64_t steps) const {
    TrainerSettings made;
    made.output_dir = path(folder);
    made.schedule = {Curve::cosine, 1e-2, 3, 40, 0};
    made.loss.seed = 7;
    made.loss.workers = 2;
    made.accumulation = 2;
    made.max_steps = steps;
    made.logging_steps = 1;
    made.save_steps = 15;
    return made;
  }

  ThreadPool threads_{2};
};

}  // namespace heddle::train
