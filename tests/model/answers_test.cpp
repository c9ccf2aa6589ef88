// Answers to a question: the question computed once gives what answers one by one give.
#include <gtest/gtest.h>

#include <bit>
#include <optional>

#include "tests/io/files.h"
#include "tests/model/answer_case.h"
#include "tests/model/language_models.h"

namespace heddle::model {
namespace {

/// Keeps the values, or gives slopes to them; of one group.
class OneAnswer : public AnswerLoss {
 public:
  void add(size_t, std::span<const AnswerValue> answers, std::span<double> slopes,
           LossSums&) const override {
    value = answers.front();
    slopes.front() = slope;
  }
  mutable AnswerValue value;
  double slope = 0;
};

std::vector<float> all_gradients(TrainingTransformer& model) {
  std::vector<float> all;
  for (const auto& slot : model.slots()) {
    const float* from = slot.gradient.data<float>();
    all.insert(all.end(), from, from + slot.gradient.elements());
  }
  return all;
}

/// Every answer in a batch of its own, first for its value, then with the slope of the loss.
LossSums one_by_one(TrainingTransformer& model, const AnswerCase& apart) {
  std::vector<std::vector<TrainingBatch>> batches;
  std::vector<std::vector<int32_t>> ends;
  std::vector<AnswerGroup> groups;
  groups.reserve(1000);
  ends.reserve(1000);
  OneAnswer one;
  size_t at = 0;
  LossSums sums;
  for (size_t g = 0; g < apart.groups.size(); ++g) {
    std::vector<TrainingBatch> of_group;
    for (const int32_t& answer : apart.lengths[g]) {
      const auto length = static_cast<size_t>(apart.groups[g].question + answer);
      ends.push_back({0, static_cast<int32_t>(length)});
      groups.push_back({.question = apart.groups[g].question, .answers = {&answer, 1}});
      groups.back().shared = false;
      TrainingBatch batch = apart.batch(one);
      batch.pair = {.targets = std::span(apart.tokens).subspan(at, length),
                    .target_offsets = ends.back(),
                    .groups = {&groups.back(), 1}};
      batch.labels = batch.labels.subspan(at, length);
      of_group.push_back(batch);
      at += length;
    }
    std::vector<AnswerValue> values;
    for (const TrainingBatch& batch : of_group) {
      model.loss(batch);
      values.push_back(one.value);
    }
    std::vector<double> slopes(values.size(), 0.0);
    PairLoss().add(g, values, slopes, sums);
    for (size_t i = 0; i < of_group.size(); ++i) {
      one.slope = slopes[i];
      model.forward_backward(of_group[i], {});
    }
  }
  return sums;
}

/// Language model and reward model, all weights and adapters.
std::vector<TrainingTransformer> answering_models(const std::string& name) {
  const ModelFiles base = load_model(language_folder(name));
  ModelFiles scoring = with_score(base, 5);
  for (int i = 0; i < 32; ++i) {  // large enough to matter
    scoring.parameters.find("score.weight")->values.data<float>()[i] *= 20;
  }
  LoraSettings lora{.rank = 2};
  std::vector<TrainingTransformer> models;
  for (const ModelFiles& files : {base, scoring}) {
    models.emplace_back(files);
    if (files.config.scores) lora.saved = {"score"};
    Adapter adapter = new_adapter(files, lora, 3);
    for (const ParameterShape& each : lora_parameters(files.config, lora)) {
      Tensor& values = adapter.parameters.find(each.name)->values;
      for (int64_t i = 0; i < values.elements(); ++i) {
        values.data<float>()[i] += 0.05f * static_cast<float>(i % 7 - 3);
      }
    }
    models.emplace_back(files, adapter);
  }
  return models;
}

TEST(Answers, SharedQuestionsAreThoseOneByOne) {
  const PairLoss loss;
  for (const char* name : {"llama3", "qwen2", "gemma3"}) {
    for (TrainingTransformer& model : answering_models(name)) {
      const int step = heddle::testing::kSanitized ? 4 : 1;
      for (int answers = 2; answers <= 6; answers += step) {
        SCOPED_TRACE(str(name, " ", model.config().scores, " ", answers));
        const int64_t longest = model.config().window > 0 ? model.config().window : 24;
        const AnswerCase shared(5, answers, longest, true), apart(5, answers, longest, false);
        model.zero_gradients();
        const LossSums expected = one_by_one(model, apart);
        const std::vector<float> gradients = all_gradients(model);
        for (const AnswerCase* each : {&shared, &apart}) {
          model.zero_gradients();
          const LossSums found = model.forward_backward(each->batch(loss), {});
          EXPECT_NEAR(found.loss, expected.loss, 2e-6 * expected.loss);
          EXPECT_EQ(found.weight, 5);
          EXPECT_LT(language_error(all_gradients(model), gradients), 2e-5);
          EXPECT_NEAR(model.loss(each->batch(loss)).loss, expected.loss, 2e-6 * expected.loss);
        }
      }
    }
  }
}

TEST(Answers, WindowsShorterThanATextNeedQuestionsApart) {
  const PairLoss loss;
  const AnswerCase shared(4, 3, 20, true), apart(4, 3, 20, false);
  for (TrainingTransformer& model : answering_models("gemma3")) {
    model.zero_gradients();
    const LossSums expected = one_by_one(model, apart);
    const std::vector<float> gradients = all_gradients(model);
    model.zero_gradients();
    EXPECT_NEAR(model.forward_backward(apart.batch(loss), {}).loss, expected.loss, 1e-4);
    EXPECT_LT(language_error(all_gradients(model), gradients), 2e-5);
    EXPECT_THROW(model.loss(shared.batch(loss)), Error);
  }
}

TEST(Answers, SkippingChangesNoBitNorDoThreadsOrRecomputation) {
  const PairLoss loss;
  const AnswerCase groups(40, 3, 24, true);  // several tiles
  ThreadPool pool(3);
  for (TrainingTransformer& model : answering_models("llama3")) {
    const auto run = [&](const LossSettings& settings, ThreadPool* threads) {
      model.zero_gradients();
      const double found = model.forward_backward(groups.batch(loss), settings, threads).loss;
      return std::pair(found, all_gradients(model));
    };
    const auto expected = run({.workers = 2}, nullptr);
    EXPECT_EQ(run({.skip_tiles = false, .workers = 2}, nullptr), expected);
    EXPECT_EQ(run({.workers = 2}, &pool), expected);
    EXPECT_EQ(run({.recompute = true, .workers = 2}, nullptr), expected);
  }
}

TEST(Answers, TheBaseAloneIsTheBase) {
  const PairLoss loss;
  const AnswerCase groups(4, 2, 24, true);
  const ModelFiles base = load_model(language_folder("llama3"));
  for (TrainingTransformer& model : answering_models("llama3")) {
    if (model.config().scores || model.slots().front().name.find("lora") == std::string::npos) {
      continue;
    }
    const double alone = TrainingTransformer(base).loss(groups.batch(loss)).loss;
    EXPECT_EQ(model.loss(groups.batch(loss), {.base_alone = true}).loss, alone);
    EXPECT_NE(model.loss(groups.batch(loss)).loss, alone);
  }
}

TEST(Answers, WrongGroupsAreRefused) {
  const PairLoss loss;
  AnswerCase groups(2, 2, 10, true);
  const TrainingTransformer model(load_model(language_folder("llama3")));
  const auto refused = [&](const TrainingBatch& batch, const char* what) {
    try {
      model.loss(batch);
      FAIL() << what;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  TrainingBatch batch = groups.batch(loss);
  batch.answers = nullptr;
  refused(batch, "expected both or neither");
  groups.groups[1].question += 1;
  refused(groups.batch(loss), "group 1 has");
  groups.groups[1].answers = {};
  refused(groups.batch(loss), "at least a token in each");
}

}  // namespace
}  // namespace heddle::model
