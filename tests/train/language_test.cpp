// Fine-tuning on packed rows: what is learned does not depend on rows, and a run goes on to the
// bit.
#include "heddle/train/language.h"

#include "heddle/io/safetensors.h"
#include "heddle/model/formats/peft.h"
#include "heddle/train/memory_plan.h"
#include "tests/train/language_case.h"

namespace heddle::train {
namespace {

class LanguageTrainingRun : public LanguageCase {
 protected:
  static constexpr data::RowPackerOptions kRows{.packing_length = 40, .window = 30, .seed = 3};

  /// Trains to `last`, or until `stop` steps are done; returns the losses.
  std::vector<double> run(const std::string& folder, const std::optional<model::LoraSettings>& how,
                          int64_t last, int64_t stop = 0) {
    const auto model = make(how);
    const RandomExamples examples(70), judged(9, 6);
    const RowBatches batches(examples.view(), kRows, 2), validation(judged.view(), kRows, 1);
    TrainerSettings given = settings(folder, last);
    given.eval_steps = 10;
    return losses_of(*model, batches, validation, given, stop);
  }

  std::string checkpoint(const std::string& folder, const std::string& file) {
    return read(folder + "/checkpoint-40/" + file);
  }
};

TEST_F(LanguageTrainingRun, GoesOnToTheBit) {
  model::LoraSettings whole = lora();
  whole.use_dora = true;
  whole.saved = {"embed_tokens", "input_layernorm"};
  for (const auto& how :
       {std::optional(lora()), std::optional(whole), std::optional<model::LoraSettings>()}) {
    const std::string name = how ? (how->use_dora ? "dora" : "lora") : "full";
    SCOPED_TRACE(name);
    std::vector<double> losses = run(name, how, 40);
    ASSERT_EQ(losses.size(), 40u);
    EXPECT_LT(losses.back(), losses.front());
    // Stopped in the middle of an epoch (about 10 steps), and a second time between checkpoints.
    std::vector<double> parts = run(name + "2", how, 40, 7);
    for (const int64_t stop : {int64_t{16}, int64_t{0}}) {
      for (const double loss : run(name + "2", how, 40, stop)) parts.push_back(loss);
    }
    EXPECT_EQ(parts, losses);
    for (const char* file : {"master_weights.safetensors", "optimizer.safetensors",
                             how ? "adapter_model.safetensors" : "model.safetensors"}) {
      EXPECT_EQ(checkpoint(name, file), checkpoint(name + "2", file)) << file;
      EXPECT_FALSE(checkpoint(name, file).empty()) << file;
    }
  }
}

TEST_F(LanguageTrainingRun, OptimiserKnowsWhatIsTrainedAlone) {
  run("lora", lora(), 40);
  const io::SafetensorsFile file{io::Source(path("lora/checkpoint-40/optimizer.safetensors"))};
  EXPECT_EQ(file.tensors().size(), 2u * 2 * 7 * 4);  // moments of A and B of 7 modules, 4 layers
  for (const io::TensorEntry& entry : file.tensors()) {
    EXPECT_NE(entry.name.find("lora_"), std::string::npos) << entry.name;
  }
}

TEST_F(LanguageTrainingRun, CheckpointsAreAdapters) {
  run("lora", lora(), 40);
  const model::ModelFiles files = base();
  const model::Adapter adapter = model::load_adapter(path("lora/checkpoint-40"), files.config);
  const model::ModelFiles merged = model::merged(files, adapter);
  const RandomExamples judged(9, 6);
  const RowBatches rows(judged.view(), kRows, 1);
  data::PackedBatch batch;
  ASSERT_TRUE(rows.open({})->next(batch));
  const auto as_adapter = make_language_training(files, adapter, {}, threads_);
  const auto as_model = make_language_training(merged, std::nullopt, {}, threads_);
  EXPECT_NEAR(as_adapter->loss(batch, {}).loss, as_model->loss(batch, {}).loss, 1e-3);
}

TEST(RowBatches, StreamsFromAnyPosition) {
  const RandomExamples examples(70);
  const RowBatches source(examples.view(), {.packing_length = 40, .window = 30, .seed = 3}, 3);
  struct Given {
    bool found;
    std::vector<int32_t> tokens;
    data::PackerPosition behind;
  };
  std::vector<Given> given;
  const auto stream = source.open({});
  data::PackedBatch batch;
  for (int i = 0; i < 24; ++i) {  // more than two epochs
    const bool found = stream->next(batch);
    given.push_back({found, found ? batch.targets : std::vector<int32_t>{}, stream->position()});
    EXPECT_EQ(batch.targets.size(), static_cast<size_t>(batch.target_offsets.back()));
  }
  EXPECT_EQ(given[static_cast<size_t>(source.batches_in_epoch())].found, false);
  for (size_t i = 0; i < given.size(); ++i) {
    const auto again = source.open(given[i].behind);
    for (size_t k = i + 1; k < given.size(); ++k) {
      if (!given[k].found) continue;  // an end of an epoch is told once
      while (!again->next(batch)) {
      }
      ASSERT_EQ(batch.targets, given[k].tokens) << i << " " << k;
    }
  }
}

TEST(RowBatches, WithoutPackingEveryExampleIsARow) {
  const RandomExamples examples(20);
  const RowBatches source(examples.view(), {.packing_length = 40, .packs = false}, 4);
  EXPECT_EQ(source.batches_in_epoch(), 5);
  data::PackedBatch batch;
  ASSERT_TRUE(source.open({})->next(batch));
  EXPECT_EQ(batch.sentences(), 4);
}

TEST_F(LanguageCase, MemoryPlansGrowWithTheRow) {
  const model::TransformerConfig config = base().config;
  PlannedRun run{.lora = lora(), .longest = 1000, .batch_tokens = 1000, .workers = 2};
  const int64_t bytes = plan_memory(config, run).bytes();
  run.longest = run.batch_tokens = 2000;
  EXPECT_GT(plan_memory(config, run).bytes(), bytes);
  EXPECT_EQ(longest_that_fits(config, run, plan_memory(config, run).bytes()), 2000);
  run.recompute = true;
  EXPECT_GT(longest_that_fits(config, run, plan_memory(config, run).bytes()), 1999);
  EXPECT_EQ(longest_that_fits(config, run, 1000), 0);
  run.lora.reset();
  EXPECT_GT(plan_memory(config, run).trained, 10'000);
}

TEST_F(LanguageCase, PlansOfAGpuCountWhatIsThere) {
  // Llama 3 8B, LoRA of rank 16, a row of 8,192 tokens.
  model::TransformerConfig config = base("llama").config;
  config.width = 4096;
  config.head_width = 128;
  config.decoder = {.layers = 32, .heads = 32, .key_value_heads = 8, .ffn_width = 14336};
  config.source_vocabulary = config.target_vocabulary = 128'256;
  config.ties = model::Ties::none;
  PlannedRun run{.lora = model::LoraSettings{.rank = 16},
                 .longest = 8192,
                 .batch_tokens = 8192,
                 .device = DeviceType::cuda,
                 .recompute = true};
  const MemoryPlan plan = plan_memory(config, run);
  EXPECT_EQ(plan.trained, 41'943'040);  // as PEFT prints
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); };
  EXPECT_NEAR(gib(plan.parts.front().bytes), 14.96, 0.02);  // 8.03 billion numbers
  EXPECT_GT(gib(plan.bytes()), 18);
  EXPECT_LT(gib(plan.bytes()), 24);
  EXPECT_EQ(plan.text().find("packed"), std::string::npos);
  // Workers are the host's; without recomputation all layers stay.
  run.workers = 8;
  EXPECT_EQ(plan_memory(config, run).bytes(), plan.bytes());
  run.recompute = false;
  EXPECT_GT(gib(plan_memory(config, run).bytes()), 45);
  run.recompute = true;
  run.lora.reset();
  EXPECT_GT(gib(plan_memory(config, run).bytes()), 8.03 * 18 / 1.074);
  run.lora = model::LoraSettings{.rank = 16};
  EXPECT_GT(longest_that_fits(config, run, int64_t{141} << 30), 65'536);
}

}  // namespace
}  // namespace heddle::train
