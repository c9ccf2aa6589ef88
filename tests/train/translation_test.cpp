#include "heddle/train/translation.h"

#include <gtest/gtest.h>

#include <cstring>

#include "heddle/base/random.h"
#include "heddle/decode/translator.h"
#include "heddle/io/atomic_file.h"
#include "heddle/model/flops.h"
#include "heddle/model/formats/formats.h"
#include "heddle/text/tokenizer.h"
#include "heddle/text/vocabulary_training.h"
#include "heddle/train/trainer.h"
#include "tests/io/files.h"

namespace heddle::train {
namespace {

using namespace heddle::testing;

constexpr int kPieces = 30;

model::TransformerConfig small_config() {
  model::TransformerConfig config;
  config.width = 16;
  config.source_vocabulary = config.target_vocabulary = kPieces;
  config.encoder = {.layers = 2, .heads = 2, .ffn_width = 24};
  config.decoder = {.layers = 1, .heads = 2, .key_value_heads = 1, .ffn_width = 40};
  config.positions = model::Positions::sinusoidal;
  config.pad = 2;
  config.decoder_start = 2;
  return config;
}

data::PackedBatch batch_of(const std::vector<std::pair<int, int>>& lengths, uint64_t seed) {
  Random random(seed);
  data::PackedBatch batch;
  batch.source_offsets = batch.target_offsets = {0};
  const auto token = [&] { return static_cast<int32_t>(random.between(3, kPieces - 1)); };
  for (const auto& [source, target] : lengths) {
    for (int i = 0; i + 1 < source; ++i) batch.sources.push_back(token());
    batch.sources.push_back(0);
    batch.targets.push_back(2);
    for (int i = 0; i + 1 < target; ++i) {
      batch.labels.push_back(token());
      batch.targets.push_back(batch.labels.back());
    }
    batch.labels.push_back(0);
    batch.source_offsets.push_back(static_cast<int32_t>(batch.sources.size()));
    batch.target_offsets.push_back(static_cast<int32_t>(batch.targets.size()));
    batch.pairs.push_back(batch.pairs.size());
  }
  return batch;
}

model::PackedPair pair_of(const data::PackedBatch& batch) {
  return {batch.sources, batch.source_offsets, batch.targets, batch.target_offsets};
}

/// Weights times the tokens that meet them, from the parameters themselves.
double counted(const model::TransformerConfig& config, const data::PackedBatch& batch) {
  double sum = 0;
  for (const auto& each : model::parameters_of(config)) {
    if (each.shape.rank() != 2 || each.name.ends_with("embed_tokens.weight") ||
        each.name.ends_with("embed_positions.weight")) {
      continue;
    }
    const auto weights = static_cast<double>(each.shape[0] * each.shape[1]);
    const bool of_sources = each.name.starts_with("model.encoder.") ||
                            each.name.find("encoder_attn.k_proj") != std::string::npos ||
                            each.name.find("encoder_attn.v_proj") != std::string::npos;
    sum += weights * static_cast<double>(of_sources ? batch.sources.size() : batch.targets.size());
  }
  return sum;
}

TEST(TrainingFlops, AreThoseOfTheWeightsAndTheVisiblePairs) {
  const data::PackedBatch batch = batch_of({{3, 5}, {7, 2}}, 1);
  const double source_pairs = 9 + 49, cross_pairs = 15 + 14, target_pairs = 15 + 3;
  for (const bool ssru : {false, true}) {
    model::TransformerConfig config = small_config();
    config.gated = ssru;
    if (ssru) config.decoder_kind = model::DecoderKind::ssru;
    double attention = 2 * source_pairs * 2 * 16 + cross_pairs * 2 * 16;  // layers · pairs · 2HE
    if (!ssru) attention += target_pairs * 2 * 16;
    EXPECT_EQ(model::training_flops(config, pair_of(batch)),
              6 * (counted(config, batch) + attention));
  }
}

class TranslationModelTest : public FolderTest {
 protected:
  model::ModelFiles files() {
    Random random(3);
    std::string line;
    const text::TrainedVocabulary vocabulary = text::train_vocabulary(
        [&, left = 300](std::string_view& text) mutable {
          line.clear();
          for (int64_t n = random.between(1, 6); n > 0; --n) {
            line += {static_cast<char>('a' + random.below(20)), ' '};
          }
          text = line;
          return left-- > 0;
        },
        {.size = kPieces, .character_coverage = 1});
    io::write_file(path("vocab.spm"), vocabulary.model);
    model::ModelFiles made = model::random_model(small_config(), 5);
    made.source_vocabulary = made.target_vocabulary = path("vocab.spm");
    return made;
  }
};

TEST_F(TranslationModelTest, TakesBatchesAsTheyArePacked) {
  ThreadPool threads(2);
  HostTranslationModel model(files(), threads);
  model::TrainingTransformer plain(model.files());
  const data::PackedBatch batch = batch_of({{3, 5}, {7, 2}, {4, 4}}, 2);
  const LossSettings settings{.label_smoothing = 0.1, .workers = 2};
  const model::TrainingBatch view{.pair = pair_of(batch), .labels = batch.labels};
  const LossSums sums = model.forward_backward(batch, settings);
  const LossSums expected = plain.forward_backward(view, settings);
  EXPECT_EQ(sums.loss, expected.loss);
  EXPECT_EQ(sums.tokens, 11);
  for (size_t i = 0; i < plain.slots().size(); ++i) {
    const Tensor &a = model.slots()[i].gradient, &b = plain.slots()[i].gradient;
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.elements()) * 4), 0) << i;
  }
  EXPECT_GT(model.flops(batch), 0);
  EXPECT_NEAR(model.loss(batch, {}).nll, plain.loss(view).nll, 1e-9);
}

/// Some random pairs.
struct Texts {
  Texts() {
    Random random(6);
    for (int text = 0; text < 120; ++text) {
      for (int64_t n = random.between(1, 20); n > 0; --n) {
        tokens.push_back(static_cast<int32_t>(random.between(3, kPieces - 1)));
      }
      offsets.push_back(tokens.size());
    }
  }
  std::vector<int32_t> tokens;
  std::vector<uint64_t> offsets{0};
};

class TranslationModelRun : public TranslationModelTest {
 protected:
  /// Trains to `last_step`, or until `stop`, in the folder of this name; returns the losses.
  std::vector<double> run(const std::string& folder, Device device, int64_t last_step,
                          bool skip_tiles = true, int64_t stop = 0) {
    ThreadPool threads(2);
    const auto model = make_translation_model(files(), device, threads);
    TrainerSettings settings;
    settings.output_dir = path(folder);
    settings.schedule = {Curve::constant, 1e-3, 0, 0, 0};
    settings.packing = {.max_tokens = 100, .window = 60};
    set_ends(model->config(), settings.packing);
    settings.loss = {
        .label_smoothing = 0.1, .dropout = 0.1, .skip_tiles = skip_tiles, .workers = 2};
    settings.optimizer.ema_decay = 0.9;
    settings.optimizer.weight_decay = 0.01;
    settings.max_steps = last_step;
    settings.logging_steps = 1;
    settings.eval_steps = 50;
    std::vector<double> losses;
    TrainerHooks hooks;
    hooks.report = [&](const Report& report) { losses.push_back(report.loss); };
    hooks.stop_requested = [&] { return stop > 0 && std::ssize(losses) >= stop; };
    const data::TokenPairs pairs{texts_.tokens, texts_.offsets, {}};
    train::train(*model, pairs, pairs, settings, hooks);
    return losses;
  }

  std::string read_of(const std::string& folder, const std::string& file) {
    return read(folder + "/checkpoint-200/" + file);
  }

 private:
  const Texts texts_;
};

TEST_F(TranslationModelRun, TwoHundredStepsAreTheSameWithoutSkippingTiles) {
  const std::vector<double> skipping = run("skip", {}, 200), whole = run("all", {}, 200, false);
  ASSERT_EQ(skipping.size(), 200u);
  EXPECT_LT(skipping.back(), skipping.front());
  EXPECT_EQ(skipping, whole);
}

constexpr Device kGpu{DeviceType::cuda, 0};

class TranslationModelGpu : public TranslationModelRun {};

TEST_F(TranslationModelGpu, TwoHundredStepsAreTheSameWithoutSkippingTiles) {
  const std::vector<double> skipping = run("skip", kGpu, 200), whole = run("all", kGpu, 200, false);
  ASSERT_EQ(skipping.size(), 200u);
  EXPECT_LT(skipping.back(), skipping.front());
  EXPECT_EQ(skipping, whole);
}

TEST_F(TranslationModelGpu, AHundredStepsAndAHundredMoreAreTwoHundred) {
  const std::vector<double> whole = run("whole", kGpu, 200);
  std::vector<double> parts = run("parts", kGpu, 200, true, 100);
  ASSERT_EQ(parts.size(), 100u);
  const std::vector<double> rest = run("parts", kGpu, 200);
  parts.insert(parts.end(), rest.begin(), rest.end());
  EXPECT_EQ(parts, whole);
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_TRUE(read_of("parts", file) == read_of("whole", file)) << file;
  }
}

TEST_F(TranslationModelGpu, LearnsAsOnTheHost) {
  const std::vector<double> gpu = run("gpu", kGpu, 200), host = run("host", {}, 200);
  for (size_t i = 0; i < host.size(); ++i) EXPECT_NEAR(gpu[i], host[i], 0.02 * host[i]) << i;
}

TEST_F(TranslationModelTest, WhatIsSavedIsLoadedAndTranslatesTheSame) {
  ThreadPool threads(1);
  HostTranslationModel model(files(), threads), other(files(), threads);
  float* first = model.slots()[0].value.data<float>();
  for (int i = 0; i < 8; ++i) first[i] += 0.25f;
  model.values_changed();
  model.save(path("saved"), io::system_files());
  other.load(path("saved"));
  other.values_changed();
  const data::PackedBatch batch = batch_of({{6, 6}}, 4);
  EXPECT_EQ(other.loss(batch, {}).nll, model.loss(batch, {}).nll);

  write("pairs.tsv", "a b\tb a\nc d e f\tf e d c\n\t\nq\tq\n");
  data::CorpusFiles pairs;
  pairs.pairs = path("pairs.tsv");
  const HeldOutText text = read_held_out({pairs}, 10);
  ASSERT_EQ(text.sources, (std::vector<std::string>{"a b", "c d e f", "q"}));
  EXPECT_EQ(read_held_out({pairs}, 2).references, (std::vector<std::string>{"b a", "f e d c"}));
  const TranslationScores scores = score_translations(model.files(), text, 1, 1);
  const decode::Translator translator(path("saved"));
  const auto translations = translator.translate(text.sources);
  ASSERT_EQ(scores.hypotheses.size(), translations.size());
  for (size_t i = 0; i < translations.size(); ++i) {
    EXPECT_EQ(scores.hypotheses[i], translations[i].text);
  }
  EXPECT_GE(scores.bleu, 0);
  EXPECT_LE(scores.chrf, 100);
  EXPECT_THROW(score_translations(model.files(), {}, 1, 1), Error);
}

}  // namespace
}  // namespace heddle::train
