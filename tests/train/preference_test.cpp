// Ranked answers: losses and gradients are those of PyTorch, whatever is shared, skipped or kept.
#include "heddle/train/preference.h"

#include <cmath>
#include <map>

#include "heddle/io/json.h"
#include "heddle/io/safetensors.h"
#include "heddle/model/formats/peft.h"
#include "tests/train/preference_case.h"

namespace heddle::train {
namespace {

using heddle::testing::expect_refused;

/// What plain PyTorch and transformers computed: make_preference.py.
class PreferenceGolden {
 public:
  PreferenceGolden() {
    const io::SafetensorsFile file(
        io::Source(std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / "preference" /
                   "golden.safetensors"));
    for (const io::TensorEntry& entry : file.tensors()) tensors_[entry.name] = file.read(entry);
  }

  template <typename T>
  std::vector<T> numbers(const std::string& name) const {
    const Tensor& tensor = tensors_.at(name);
    return {tensor.data<T>(), tensor.data<T>() + tensor.elements()};
  }
  bool has(const std::string& name) const { return tensors_.contains(name); }

  /// Questions are shared where a text is no longer than the window; 0: all.
  RandomGroups groups(int64_t window) const {
    const auto questions = numbers<int32_t>("questions"), counts = numbers<int32_t>("counts"),
               answers = numbers<int32_t>("answers"), tokens = numbers<int32_t>("tokens");
    const auto scores = numbers<float>("scores"), margins = numbers<float>("margins");
    RandomGroups made;
    size_t next = 0, at = 0;
    for (size_t g = 0; g < questions.size(); ++g) {
      data::PreferenceGroup group{
          .question = questions[g], .answers{}, .scores{}, .margin = margins[g]};
      for (int32_t i = 0; i < counts[g]; ++i, ++next) {
        group.answers.push_back(answers[next]);
        group.scores.push_back(scores[next]);
      }
      group.shared = window == 0 || group.longest() <= window;
      const size_t question = at;
      at += static_cast<size_t>(group.question);
      std::vector<int32_t> stored;
      for (size_t i = 0; i < group.answers.size(); ++i) {
        for (int32_t t = 0; (i == 0 || !group.shared) && t < group.question; ++t) {
          stored.push_back(data::stored_token(tokens[question + static_cast<size_t>(t)], false));
        }
        for (int32_t t = 0; t < group.answers[i]; ++t) {
          stored.push_back(data::stored_token(tokens[at++], true));
        }
      }
      made.add(group, stored);
    }
    return made;
  }

 private:
  std::map<std::string, Tensor> tensors_;
};

class PreferenceGoldens : public PreferenceRun {
 protected:
  static model::TrainingBatch view(const data::PackedBatch& batch,
                                   const std::vector<model::AnswerGroup>& groups,
                                   const model::AnswerLoss& loss) {
    return {.pair = {.targets = batch.targets,
                     .target_offsets = batch.target_offsets,
                     .groups = groups},
            .labels = batch.labels,
            .answers = &loss};
  }

  /// Loss and gradients against a golden case.
  static void expect_golden(const PreferenceGolden& golden, const std::string& name,
                            model::TrainingTransformer& model, const model::TrainingBatch& batch) {
    SCOPED_TRACE(name);
    model.zero_gradients();
    const LossSums sums = model.forward_backward(batch, {});
    const auto groups = static_cast<double>(batch.pair.groups.size());
    const double expected = double{golden.numbers<float>(name + ".loss")[0]};
    EXPECT_NEAR(sums.loss / groups, expected, 1e-5 * std::max(1.0, expected));
    EXPECT_NEAR(sums.weight, groups, 1e-9);
    int compared = 0;
    for (const auto& slot : model.slots()) {
      const std::string key = str(name, ".gradient.", slot.name);
      if (!golden.has(key)) continue;
      ++compared;
      const auto gradient = golden.numbers<float>(key);
      double largest = 0, worst = 0;
      for (size_t i = 0; i < gradient.size(); ++i) {
        const double found = double{slot.gradient.data<float>()[i]} / groups;
        largest = std::max(largest, std::abs(double{gradient[i]}));
        worst = std::max(worst, std::abs(found - double{gradient[i]}));
      }
      EXPECT_LT(worst, 2e-5 * largest + 1e-7) << slot.name;
    }
    EXPECT_GE(compared, 4);
  }
};

TEST_F(PreferenceGoldens, DpoIsThatOfPyTorch) {
  const PreferenceGolden golden;
  const RandomGroups groups = golden.groups(0);
  const data::PackedBatch batch = all_groups(groups.view());
  const auto answers = answer_groups(batch);
  const AnswerJudge judge(base("qwen3"), threads_);
  const std::vector<double> reference = judge(batch);
  const std::pair<const char*, DpoSettings> cases[] = {
      {"sigmoid", {.beta = 0.4}},
      {"smoothed", {.beta = 0.4, .label_smoothing = 0.2}},
      {"norm", {.loss_type = DpoLossType::sigmoid_norm, .beta = 0.4}},
      {"robust", {.loss_type = DpoLossType::robust, .beta = 0.4, .label_smoothing = 0.2}},
      {"ipo", {.loss_type = DpoLossType::ipo, .beta = 0.4}},
      {"hinge", {.loss_type = DpoLossType::hinge, .beta = 0.4}},
      {"rpo", {.beta = 0.4, .rpo_alpha = 0.7}},
      {"free", {.beta = 0.4, .reference_free = true}},
  };
  model::TrainingTransformer model(base("llama3"));
  for (const auto& [name, settings] : cases) {
    const auto seen = settings.reference_free ? std::span<const double>() : std::span(reference);
    expect_golden(golden, str("dpo.", name), model,
                  view(batch, answers, DpoLoss(settings, batch, seen)));
  }
}

TEST_F(PreferenceGoldens, RewardModelsAreThoseOfTransformers) {
  const PreferenceGolden golden;
  for (const char* name : {"llama3", "gemma3"}) {
    model::ModelFiles files = model::with_score(base(name), 1);
    const auto score = golden.numbers<float>(str(name, ".score"));
    std::copy(score.begin(), score.end(),
              files.parameters.find("score.weight")->values.data<float>());
    const RandomGroups groups = golden.groups(files.config.window);
    data::PackedBatch batch = all_groups(groups.view());
    const auto answers = answer_groups(batch);
    model::TrainingTransformer model(files);
    for (const char* each : {"margin", "plain", "centred"}) {
      if (each == std::string("plain")) {
        for (auto& group : batch.groups) group.margin = 0;
      }
      const RewardSettings settings{each == std::string("centred") ? 0.3 : 0};
      expect_golden(golden, str(name, ".", each), model,
                    view(batch, answers, RewardLoss(settings, batch)));
    }
  }
}

TEST_F(PreferenceRun, SlopesAreThoseOfTheLosses) {
  const auto check = [](const auto& loss, double chosen, double rejected) {
    constexpr double kStep = 1e-5;
    const PairSlopes found = loss(chosen, rejected);
    EXPECT_NEAR(
        (loss(chosen + kStep, rejected).loss - loss(chosen - kStep, rejected).loss) / (2 * kStep),
        found.chosen, 1e-7 * (1 + std::abs(found.chosen)));
    EXPECT_NEAR(
        (loss(chosen, rejected + kStep).loss - loss(chosen, rejected - kStep).loss) / (2 * kStep),
        found.rejected, 1e-7 * (1 + std::abs(found.rejected)));
  };
  for (const char* name : {"sigmoid", "sigmoid_norm", "robust", "ipo", "hinge"}) {
    DpoSettings settings{.loss_type = dpo_loss_type(name), .rpo_alpha = 0.3};
    if (settings.loss_type < DpoLossType::ipo) settings.label_smoothing = 0.1;
    settings.check();
    for (const double chosen : {-900.0, -21.0, -3.0}) {
      const auto loss = [&](double c, double r) {
        return dpo_loss(settings, {{c, 7, 0}, -20}, {{r, 3, 0}, -17.5});
      };
      check(loss, chosen, -11.0);
    }
  }
  const auto reward = [](double c, double r) { return reward_loss({0.01}, c, r, 0.5); };
  check(reward, 1.5, 2.5);
  check(reward, -40, 30);
}

TEST_F(PreferenceRun, TheFirstStepOfDpoHasLossLn2) {
  for (const char* family : {"llama3", "gemma3"}) {  // this one has a window of 8 tokens
    family_ = family;
    const RandomGroups groups(40, family_ == "llama3");
    data::PackedBatch batch = all_groups(groups.view());
    const DpoSettings dpo;
    const auto expect_ln2 = [&](LanguageTraining& model) { expect_first_loss(model, batch); };
    // Adapters off, a second model, what was kept of it.
    expect_ln2(*make_preference(dpo, true));
    const auto judge = [&] { return std::make_unique<AnswerJudge>(base(family_), threads_); };
    expect_ln2(*make_preference(dpo, false, judge()));
    batch.reference = (*judge())(batch);
    expect_ln2(*make_preference(dpo, false));
    // All weights are trained and nothing keeps the base.
    batch.reference.clear();
    expect_refused([&] { make_preference(dpo, false)->loss(batch, {}); },
                   {"found no reference", "precompute_ref_log_probs"});
  }
}

TEST_F(PreferenceRun, SharingAndSkippingChangeNothing) {
  const RandomGroups shared(30), apart(30, false);
  const data::PackedBatch once = all_groups(shared.view()), again = all_groups(apart.view());
  ASSERT_LT(once.targets.size(), again.targets.size());
  for (const bool rewards : {false, true}) {
    model::ModelFiles files = base("llama3");
    if (rewards) files = model::with_score(std::move(files), 3);
    const auto model = make_preference_training(
        std::move(files), {},
        rewards ? PreferenceSettings(RewardSettings{0.1}) : DpoSettings{.reference_free = true}, {},
        threads_);
    const LossSums first = model->loss(once, {}), second = model->loss(again, {});
    EXPECT_NEAR(first.loss, second.loss, 1e-5 * first.loss);
    for (size_t i = 0; i < model->figures().size(); ++i) {
      EXPECT_NEAR(first.figures[i], second.figures[i], 1e-5 * (1 + std::abs(first.figures[i])));
    }
  }
}

TEST_F(PreferenceRun, ReferenceValuesAreKept) {
  const RandomGroups groups(150);
  int asked = 0;
  const auto reference = [&]() -> AskReference {
    ++asked;
    return [judge = std::make_shared<AnswerJudge>(base(family_), threads_)](const auto& batch) {
      return (*judge)(batch);
    };
  };
  uint64_t told = 0;
  const ReferenceCache made = open_reference_cache(groups.view(), 5, path("cache"), reference,
                                                   [&](uint64_t done) { told = done; });
  EXPECT_EQ(told, 150u);
  data::PackedBatch batch;
  GroupBatches(groups.view(), {.packing_length = 200, .window = 40, .seed = 2}, 3, made.values())
      .open({})
      ->next(batch);
  ASSERT_FALSE(batch.reference.empty());
  const std::vector<double> now = AnswerJudge(base(family_), threads_)(batch);
  ASSERT_EQ(now.size(), batch.reference.size());
  for (size_t i = 0; i < now.size(); ++i) EXPECT_NEAR(now[i], batch.reference[i], 1e-4) << i;
  open_reference_cache(groups.view(), 5, path("cache"), reference);
  EXPECT_EQ(asked, 1);
  open_reference_cache(groups.view(), 6, path("cache"), reference);
  EXPECT_EQ(asked, 2);
  for (const auto& file : std::filesystem::directory_iterator(path("cache"))) {
    std::filesystem::resize_file(file, 100);
  }
  open_reference_cache(groups.view(), 5, path("cache"), reference);  // a damaged one is made again
  EXPECT_EQ(asked, 3);
}

TEST_F(PreferenceRun, GroupBatchesStreamFromAnyPosition) {
  const RandomGroups groups(70);
  const GroupBatches source(groups.view(), kRows, 3);
  const auto stream = source.open({});
  std::vector<data::PackerPosition> behind;
  std::vector<std::vector<int32_t>> tokens;
  data::PackedBatch batch;
  int64_t ends = 0;
  for (int64_t i = 0; i < 3 * source.batches_in_epoch(); ++i) {
    if (!stream->next(batch)) {
      ++ends;
      continue;
    }
    ASSERT_EQ(batch.groups.size(), batch.pairs.size());
    behind.push_back(stream->position());
    tokens.push_back(batch.targets);
  }
  EXPECT_EQ(ends, 2);
  for (size_t i = 0; i < behind.size(); ++i) {
    const auto again = source.open(behind[i]);
    for (size_t k = i + 1; k < tokens.size(); ++k) {
      while (!again->next(batch)) {
      }
      ASSERT_EQ(batch.targets, tokens[k]) << i << " " << k;
    }
  }
}

TEST_F(PreferenceRun, BadSettingsAreRefused) {
  expect_refused([] { dpo_loss_type("simpo"); }, {"loss_type", "simpo", "sigmoid_norm"});
  expect_refused([] { DpoSettings{.beta = 0}.check(); }, {"beta", "above 0"});
  expect_refused(
      [] { DpoSettings{.loss_type = DpoLossType::robust, .label_smoothing = 0.5}.check(); },
      {"label_smoothing", "below 0.5"});
  expect_refused(
      [] { DpoSettings{.loss_type = DpoLossType::hinge, .label_smoothing = 0.1}.check(); },
      {"label_smoothing", "without it"});
  expect_refused([] { RewardSettings{-1}.check(); }, {"center_rewards_coefficient"});
  expect_refused([&] { make_preference_training(base(), {}, RewardSettings{}, {}, threads_); },
                 {"expected a reward model"});
}

TEST_F(PreferenceRun, RewardModelsAreSavedAsTransformersAndPeftHaveThem) {
  family_ = "gemma3";
  const auto full = make_preference(RewardSettings{}, false);
  full->save_result(path("full"), io::system_files());
  const std::string config = read("full/config.json");
  EXPECT_NE(config.find("Gemma3TextForSequenceClassification"), config.npos);
  EXPECT_NE(config.find("\"LABEL_0\": 0"), config.npos);
  const model::ModelFiles files = model::load_model(path("full"));
  EXPECT_TRUE(files.config.scores);
  EXPECT_EQ(files.config.pad, files.config.decoder_start);
  EXPECT_TRUE(files.parameters.has("score.weight"));
  EXPECT_FALSE(files.parameters.has("lm_head.weight"));

  const auto lora = make_preference(RewardSettings{}, true);
  lora->save_result(path("lora"), io::system_files());
  const std::string adapter = read("lora/adapter_config.json");
  EXPECT_NE(adapter.find("SEQ_CLS"), adapter.npos);
  const model::ModelFiles ready = model::base_for(path("lora"), base(family_));
  EXPECT_TRUE(ready.config.scores);
  const model::Adapter again = model::load_adapter(path("lora"), ready.config);
  EXPECT_TRUE(again.parameters.has("score.weight"));
}

}  // namespace
}  // namespace heddle::train
