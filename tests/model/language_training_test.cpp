// Training of language models: losses and gradients are PyTorch's, and the same however computed.
#include <gtest/gtest.h>

#include <bit>

#include "heddle/model/training.h"
#include "tests/model/language_models.h"

namespace heddle::model {
namespace {

/// Each text's next tokens; none behind its last.
std::vector<int32_t> next_tokens(const LanguageGolden& golden) {
  std::vector<int32_t> labels(golden.tokens.begin() + 1, golden.tokens.end());
  labels.push_back(-1);
  for (size_t s = 1; s <= golden.count(); ++s) {
    labels[static_cast<size_t>(golden.offsets[s]) - 1] = -1;
  }
  return labels;
}

std::vector<float> values_of(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.elements()};
}

std::vector<float> gradients(TrainingTransformer& model, const LanguageGolden& golden,
                             const LossSettings& settings) {
  const std::vector<int32_t> labels = next_tokens(golden);
  model.zero_gradients();
  model.forward_backward({.pair = golden.texts(), .labels = labels}, settings);
  std::vector<float> all;
  for (const TrainingTransformer::Slot& slot : model.slots()) {
    const std::vector<float> one = values_of(slot.gradient);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

TEST(LanguageTraining, LossAndGradientsArePyTorchs) {
  for (const std::string& name : language_names()) {
    SCOPED_TRACE(name);
    const LanguageGolden golden(name);
    const std::vector<int32_t> labels = next_tokens(golden);
    TrainingTransformer model(load_model(language_folder(name)));
    const LossSums sums = model.forward_backward({.pair = golden.texts(), .labels = labels}, {});
    const double loss = golden.numbers<float>("loss")[0];
    EXPECT_NEAR(sums.loss, loss, 1e-5 * loss);
    size_t vectors = 0;
    for (const TrainingTransformer::Slot& slot : model.slots()) {
      const std::vector<float> found = values_of(slot.gradient);
      if (slot.value.rank() == 1) {
        // A bias of keys moves all scores of a row alike: rounding is all that its gradient is.
        if (slot.name.ends_with("k_proj.bias")) continue;
        EXPECT_LT(language_error(found, golden.numbers<float>("gradient." + slot.name)), 1e-4)
            << slot.name;
        ++vectors;
      } else {
        double squares = 0;
        for (const float each : found) squares += double{each} * double{each};
        const double norm = golden.numbers<float>("gradient_norm." + slot.name)[0];
        EXPECT_NEAR(std::sqrt(squares), norm, 1e-4 * norm) << slot.name;
      }
    }
    EXPECT_GE(vectors, 5u);  // norms
  }
}

TEST(LanguageTraining, RecomputedIsTheSame) {
  for (const char* name : {"gemma3", "qwen2_window"}) {
    SCOPED_TRACE(name);
    const LanguageGolden golden(name);
    TrainingTransformer model(load_model(language_folder(name)));
    const std::vector<float> once =
        gradients(model, golden, {.dropout = 0.2, .seed = 3, .step = 1});
    for (const LossSettings& settings :
         {LossSettings{.dropout = 0.2, .seed = 3, .step = 1, .recompute = true},
          LossSettings{.dropout = 0.2, .seed = 3, .step = 1, .skip_tiles = false}}) {
      const std::vector<float> again = gradients(model, golden, settings);
      for (size_t i = 0; i < once.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(once[i]), std::bit_cast<uint32_t>(again[i])) << i;
      }
    }
    EXPECT_GT(language_error(gradients(model, golden, {}), once), 0.01);  // dropout is there
    // Workers take whole texts, and add what they have in another order.
    EXPECT_LT(
        language_error(
            gradients(model, golden, {.dropout = 0.2, .seed = 3, .step = 1, .workers = 2}), once),
        1e-5);
  }
}

TEST(LanguageTraining, LearnsByDescent) {
  const LanguageGolden golden("gemma3_even");
  const std::vector<int32_t> labels = next_tokens(golden);
  TrainingTransformer model(load_model(language_folder("gemma3_even")));
  const TrainingBatch batch{.pair = golden.texts(), .labels = labels};
  const double before = model.loss(batch).loss;
  for (int step = 0; step < 20; ++step) {
    model.zero_gradients();
    model.forward_backward(batch, {});
    for (TrainingTransformer::Slot& slot : model.slots()) {
      float* value = slot.value.data<float>();
      const float* gradient = slot.gradient.data<float>();
      for (int64_t i = 0; i < slot.value.elements(); ++i) value[i] -= 0.002f * gradient[i];
    }
    model.values_changed();
  }
  const double after = model.loss(batch).loss;
  EXPECT_LT(after, 0.8 * before);
  // What was trained is what is run.
  const Transformer trained(model.files(), Precision::f32);
  const TrainingTransformer again(model.files());
  EXPECT_DOUBLE_EQ(again.loss(batch).loss, after);
}

}  // namespace
}  // namespace heddle::model
