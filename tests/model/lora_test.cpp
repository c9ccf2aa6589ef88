// Adapters: losses and gradients are PEFT's, files too.
#include <gtest/gtest.h>

#include <bit>
#include <optional>

#include "heddle/model/formats/peft.h"
#include "heddle/model/training.h"
#include "tests/io/files.h"
#include "tests/model/language_models.h"

namespace heddle::model {
namespace {

using heddle::testing::expect_refused;
using heddle::testing::FolderTest;

struct LoraCase {
  const char *name, *base;
};
constexpr LoraCase kLoraCases[] = {{"gemma3_lora", "gemma3"},
                                   {"qwen2_rslora", "qwen2"},
                                   {"llama_dora", "llama"},
                                   {"gemma3_saved", "gemma3"}};

std::string lora_folder(const std::string& name) {
  return std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / "lora" / name;
}

/// What PEFT computed with the texts of the base's golden file.
class LoraGolden {
 public:
  explicit LoraGolden(const LoraCase& of)
      : texts(of.base),
        base(load_model(language_folder(of.base))),
        adapter(load_adapter(lora_folder(of.name), base.config)) {
    const io::SafetensorsFile file(io::Source(lora_folder(of.name) + "/golden.safetensors"));
    for (const io::TensorEntry& entry : file.tensors()) tensors[entry.name] = file.read(entry);
    labels.assign(texts.tokens.begin() + 1, texts.tokens.end());
    labels.push_back(-1);
    for (size_t s = 1; s <= texts.count(); ++s) {
      labels[static_cast<size_t>(texts.offsets[s]) - 1] = -1;
    }
  }

  std::vector<float> numbers(const std::string& key) const {
    const Tensor& tensor = tensors.at(key);
    return {tensor.data<float>(), tensor.data<float>() + tensor.elements()};
  }
  TrainingBatch batch() const { return {.pair = texts.texts(), .labels = labels}; }

  LanguageGolden texts;
  ModelFiles base;
  Adapter adapter;
  std::map<std::string, Tensor> tensors;
  std::vector<int32_t> labels;
};

std::vector<float> lora_numbers(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.elements()};
}

TEST(Lora, LossAndGradientsArePefts) {
  for (const LoraCase& each : kLoraCases) {
    SCOPED_TRACE(each.name);
    const LoraGolden golden(each);
    TrainingTransformer model(golden.base, golden.adapter);
    const LossSums sums = model.forward_backward(golden.batch(), {});
    const double loss = golden.numbers("loss")[0];
    EXPECT_NEAR(sums.loss, loss, 1e-5 * loss);
    EXPECT_NEAR(model.loss(golden.batch()).loss, loss, 1e-5 * loss);
    for (const TrainingTransformer::Slot& slot : model.slots()) {
      const auto found = golden.tensors.find("gradient." + slot.name);
      ASSERT_NE(found, golden.tensors.end()) << slot.name;
      EXPECT_LT(language_error(lora_numbers(slot.gradient), lora_numbers(found->second)), 1e-4)
          << slot.name;
    }
    // Beside them there are logits and loss: nothing of the base has gradients.
    EXPECT_EQ(model.slots().size() + 2, golden.tensors.size());
  }
}

TEST(Lora, MergedModelsAreTheSame) {
  for (const LoraCase& each : kLoraCases) {
    SCOPED_TRACE(each.name);
    const LoraGolden golden(each);
    const Transformer model(merged(golden.base, golden.adapter), Precision::f32);
    EXPECT_LT(language_error(forward_logits(model, golden.texts.texts()), golden.numbers("logits")),
              1e-5);
  }
}

TEST(Lora, RecomputedAndDroppedIsTheSame) {
  for (const LoraCase& each : kLoraCases) {
    SCOPED_TRACE(each.name);
    LoraGolden golden(each);
    golden.adapter.settings.dropout = 0.3;
    TrainingTransformer model(golden.base, golden.adapter);
    const auto gradients = [&](const LossSettings& settings) {
      model.zero_gradients();
      model.forward_backward(golden.batch(), settings);
      std::vector<float> all;
      for (const auto& slot : model.slots()) {
        const std::vector<float> one = lora_numbers(slot.gradient);
        all.insert(all.end(), one.begin(), one.end());
      }
      return all;
    };
    const std::vector<float> once = gradients({.seed = 3, .step = 1});
    const std::vector<float> again = gradients({.seed = 3, .step = 1, .recompute = true});
    for (size_t i = 0; i < once.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(once[i]), std::bit_cast<uint32_t>(again[i])) << i;
    }
    EXPECT_GT(language_error(gradients({.seed = 4, .step = 1}), once), 0.01);
  }
}

TEST(Lora, ThreadsShareALongTextAndChangeNoBit) {
  const LoraGolden golden(kLoraCases[2]);
  std::vector<int32_t> tokens, labels;
  for (int32_t t = 0; t < 300; ++t) tokens.push_back(t * 7 % 48);
  labels.assign(tokens.begin() + 1, tokens.end());
  labels.push_back(-1);
  ModelFiles base = golden.base;
  base.config.max_positions = 0;
  const std::vector<int32_t> offsets{0, 300};
  const auto gradients = [&](ThreadPool* threads, const std::optional<Adapter>& adapter) {
    TrainingTransformer model =
        adapter ? TrainingTransformer(base, *adapter) : TrainingTransformer(base);
    model.forward_backward(
        {.pair = {.targets = tokens, .target_offsets = offsets}, .labels = labels}, {}, threads);
    std::vector<float> all;
    for (const auto& slot : model.slots()) {
      const std::vector<float> one = lora_numbers(slot.gradient);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  };
  ThreadPool pool(3);
  for (const auto& adapter : {std::optional(golden.adapter), std::optional<Adapter>()}) {
    EXPECT_EQ(gradients(nullptr, adapter), gradients(&pool, adapter));
  }
}

/// Loss along a direction, by four-point differences; dropout stays what it was. The length of
/// DoRA's rows is a constant of the gradient, so that its A and B have other slopes.
TEST(Lora, GradientsAreSlopes) {
  for (const LoraCase& each : {kLoraCases[0], kLoraCases[1], kLoraCases[3]}) {
    SCOPED_TRACE(each.name);
    LoraGolden golden(each);
    golden.adapter.settings.dropout = 0.2;
    TrainingTransformer model(golden.base, golden.adapter);
    const LossSettings settings{.seed = 3, .step = 1};
    const auto loss = [&] {
      model.values_changed();
      return model.forward_backward(golden.batch(), settings).loss;
    };
    model.zero_gradients();
    loss();
    std::map<std::string, std::vector<float>> gradients;
    for (const auto& slot : model.slots()) gradients[slot.name] = lora_numbers(slot.gradient);
    for (TrainingTransformer::Slot& slot : model.slots()) {
      const bool takes_part =
          slot.name.find("lora_A") != slot.name.npos || slot.name.find("lora_B") != slot.name.npos;
      if (golden.adapter.settings.use_dora && takes_part) continue;
      const std::vector<float>& gradient = gradients[slot.name];
      const std::vector<float> before = lora_numbers(slot.value);
      double length = 0;
      for (const float g : gradient) length += double{g} * double{g};
      length = std::sqrt(length);
      if (length < 1e-3) continue;
      const auto at = [&](double step) {
        for (size_t i = 0; i < before.size(); ++i) {
          slot.value.data<float>()[i] =
              static_cast<float>(double{before[i]} + step * double{gradient[i]} / length);
        }
        return loss();
      };
      constexpr double kStep = 0.003;
      const double slope =
          (8 * (at(kStep) - at(-kStep)) - (at(2 * kStep) - at(-2 * kStep))) / (12 * kStep);
      at(0);
      EXPECT_NEAR(slope, length, 0.01 * length + 0.05) << slot.name;
    }
  }
}

TEST(Lora, BeginsWithoutAChange) {
  const LoraGolden golden(kLoraCases[0]);
  for (const bool dora : {false, true}) {
    const LoraSettings settings{.rank = 2, .alpha = 4, .use_dora = dora};
    TrainingTransformer plain(golden.base);
    TrainingTransformer model(golden.base, new_adapter(golden.base, settings, 1));
    EXPECT_NEAR(model.loss(golden.batch()).loss, plain.loss(golden.batch()).loss, 1e-3);
    model.forward_backward(golden.batch(), {});
    for (const auto& slot : model.slots()) {  // B is zero, and A gets no gradient through it
      const std::vector<float> gradient = lora_numbers(slot.gradient);
      const bool moves = std::ranges::any_of(gradient, [](float g) { return g != 0; });
      EXPECT_EQ(moves, slot.name.find("lora_A") == slot.name.npos) << slot.name;
    }
  }
}

class LoraFiles : public FolderTest {};

TEST_F(LoraFiles, RoundTrip) {
  for (const LoraCase& each : kLoraCases) {
    SCOPED_TRACE(each.name);
    const LoraGolden golden(each);
    save_adapter(golden.adapter, golden.base.config, path("adapter"));
    EXPECT_TRUE(is_adapter(path("adapter")));
    const Adapter again = load_adapter(path("adapter"), golden.base.config);
    EXPECT_EQ(again.settings.scale(), golden.adapter.settings.scale());
    EXPECT_EQ(again.base, golden.adapter.base);
    for (const auto& [name, parameter] : golden.adapter.parameters) {
      if (name.ends_with("norm.weight")) continue;  // one less in the file: rounded
      EXPECT_EQ(lora_numbers(again.parameters.find(name)->values), lora_numbers(parameter.values));
    }
    EXPECT_EQ(again.parameters.size(), golden.adapter.parameters.size());
  }
}

TEST_F(LoraFiles, RefusesWhatItDoesNotKnow) {
  const LoraGolden golden(kLoraCases[0]);
  const std::string folder = path("adapter");
  const auto with = [&](const std::string& from, const std::string& to) {
    save_adapter(golden.adapter, golden.base.config, folder);
    std::string config = read("adapter/adapter_config.json");
    const size_t at = config.find(from);
    ASSERT_NE(at, config.npos) << from;
    write("adapter/adapter_config.json", config.replace(at, from.size(), to));
  };
  const auto load = [&] { load_adapter(folder, golden.base.config); };
  with("\"LORA\"", "\"IA3\"");
  expect_refused(load, {"peft_type", "IA3", "LORA"});
  with("\"bias\": \"none\"", "\"bias\": \"all\"");
  expect_refused(load, {"bias", "all"});
  with("\"use_dora\": false", "\"use_dora\": false, \"rank_pattern\": {\"q_proj\": 4}");
  expect_refused(load, {"rank_pattern", "q_proj"});
  with("\"r\": 3", "\"r\": 4");
  expect_refused(load, {"lora_A", "[3", "[4"});
  with("\"q_proj\"", "\"c_attn\"");
  expect_refused(load, {"c_attn", "all-linear"});
  with("\"use_dora\": false", "\"use_dora\": true");
  expect_refused(load, {"lora_magnitude_vector", "missing"});
}

TEST(Lora, RefusesTargetsThatAreNotThere) {
  const ModelFiles base = load_model(language_folder("llama"));
  expect_refused([&] { new_adapter(base, {.targets = {"query"}}, 1); }, {"query", "q_proj"});
  expect_refused([&] { new_adapter(base, {.saved = {"score"}}, 1); }, {"score", "lm_head"});
  expect_refused([&] { new_adapter(base, {.saved = {"q_proj"}}, 1); }, {"q_proj", "lora_target"});
  expect_refused([&] { new_adapter(base, {.rank = 0}, 1); }, {"lora_rank", "0"});
}

}  // namespace
}  // namespace heddle::model
