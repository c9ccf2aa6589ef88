// What teachers say at each word: right, kept, and made again where it is missing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "heddle/base/random.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/transformer.h"
#include "heddle/tensor/cuda.h"
#include "heddle/text/vocabulary_training.h"
#include "heddle/train/teacher.h"
#include "heddle/train/translation.h"
#include "tests/io/files.h"

namespace heddle::train {
namespace {

using namespace heddle::testing;

constexpr int kTeacherPieces = 30;
constexpr int64_t kTeacherChoices = 4;

class TeacherTest : public FolderTest {
 protected:
  TeacherTest() {
    make_vocabulary("vocab.spm", 20);
    Random random(8);
    for (uint64_t text = 0; text < 2 * kPairs; ++text) {
      for (int64_t n = random.between(1, 4); n > 0; --n) {
        tokens_.push_back(static_cast<int32_t>(random.between(3, kTeacherPieces - 1)));
      }
      offsets_.push_back(tokens_.size());
    }
  }

  void make_vocabulary(const std::string& name, int letters) {
    Random random(3);
    std::string line;
    const text::TrainedVocabulary made = text::train_vocabulary(
        [&, left = 300](std::string_view& text) mutable {
          line.clear();
          for (int64_t n = random.between(1, 6); n > 0; --n) {
            line += {static_cast<char>('a' + random.below(letters)), ' '};
          }
          text = line;
          return left-- > 0;
        },
        {.size = kTeacherPieces, .character_coverage = 1});
    io::write_file(path(name), made.model);
  }

  model::ModelFiles model(uint64_t seed, const std::string& vocabulary = "vocab.spm") {
    model::TransformerConfig config;
    config.width = 16;
    config.source_vocabulary = config.target_vocabulary = kTeacherPieces;
    config.encoder = {.layers = 1, .heads = 2, .ffn_width = 16};
    config.decoder = config.encoder;
    config.positions = model::Positions::sinusoidal;
    config.pad = config.decoder_start = 2;
    model::ModelFiles made = model::random_model(config, seed);
    made.source_vocabulary = made.target_vocabulary = path(vocabulary);
    return made;
  }

  /// A teacher in a folder.
  std::string saved(uint64_t seed, const std::string& vocabulary = "vocab.spm") {
    const std::string folder = path(str("teacher", seed));
    model::save_model(model(seed, vocabulary), folder);
    return folder;
  }

  data::TokenPairs pairs() const { return {tokens_, offsets_, {}}; }

  std::unique_ptr<TeacherText> open(const std::vector<std::string>& models, int threads = 2,
                                    Device device = {}) {
    ThreadPool pool(threads);
    made_ = 0;
    const model::ModelFiles student = model(9);
    const TeacherTask task{.pairs = pairs(),
                           .text_key = 5,
                           .student = student,
                           .folder = path(device.type == DeviceType::cpu ? "cache" : "gpu"),
                           .device = device,
                           .progress = [this](uint64_t, uint64_t) { ++made_; },
                           .stop_requested = [this] { return stop_ > 0 && made_ >= stop_; }};
    return open_teacher_text({models, kTeacherChoices}, task, pool);
  }

  std::vector<std::string> parts() const { return io::list_folder(path("cache")); }

  data::PackerOptions packing() {
    data::PackerOptions options{.max_tokens = 64, .window = 100, .seed = 4};
    set_ends(model(1).config, options);
    return options;
  }

  /// p of all tokens at each target position of a batch, [Tt, V], by the definition.
  std::vector<double> probabilities(uint64_t seed, const data::PackedBatch& batch) {
    const model::Transformer transformer(model(seed), model::Precision::f32);
    const model::ModelFiles files = model(seed);
    ops::Workspace workspace;
    const Tensor hidden = transformer.forward(view_of(batch).pair, workspace);
    std::vector<double> p;
    for (int64_t row = 0; row < hidden.dim(0); ++row) {
      double sum = 0;
      const size_t begin = p.size();
      for (int64_t token = 0; token < kTeacherPieces; ++token) {
        std::vector<float> weights(16);
        transformer.output().row(token, weights.data());
        double logit =
            transformer.output_bias().empty()
                ? 0
                : static_cast<double>(transformer.output_bias()[static_cast<size_t>(token)]);
        for (size_t i = 0; i < 16; ++i) {
          logit += static_cast<double>(hidden.data<float>()[row * 16 + static_cast<int64_t>(i)]) *
                   static_cast<double>(weights[i]);
        }
        p.push_back(std::exp(logit));
        sum += p.back();
      }
      for (size_t i = begin; i < p.size(); ++i) p[i] /= sum;
    }
    return p;
  }

  static constexpr uint64_t kPairs = 2 * kPairsOfPart + 100;
  std::vector<int32_t> tokens_;
  std::vector<uint64_t> offsets_{0};
  uint64_t made_ = 0, stop_ = 0;
};

TEST_F(TeacherTest, GivesTheTeachersBestTokensWithTheirProbabilities) {
  const auto teacher = open({saved(1)});
  ASSERT_NE(teacher, nullptr);
  EXPECT_EQ(made_, 3u);
  const data::TokenPairs view = pairs();
  const PairBatches plain(view, packing());
  const TaughtBatches taught(plain, *teacher, 7);
  const auto stream = taught.open({}), untaught = plain.open({});
  data::PackedBatch batch, bare;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(stream->next(batch));
    ASSERT_TRUE(untaught->next(bare));
    EXPECT_EQ(batch.pairs, bare.pairs);
    EXPECT_EQ(batch.labels, bare.labels);
    EXPECT_TRUE(stream->position() == untaught->position());
    ASSERT_EQ(batch.teacher_count, kTeacherChoices);
    ASSERT_EQ(std::ssize(batch.teacher_ids), std::ssize(batch.targets) * kTeacherChoices);
    const std::vector<double> p = probabilities(1, batch);
    for (size_t row = 0; row < batch.targets.size(); ++row) {
      std::vector<double> sorted(p.begin() + static_cast<int64_t>(row) * kTeacherPieces,
                                 p.begin() + static_cast<int64_t>(row + 1) * kTeacherPieces);
      const std::vector<double> all = sorted;
      std::sort(sorted.rbegin(), sorted.rend());
      for (size_t j = 0; j < kTeacherChoices; ++j) {
        const size_t at = row * kTeacherChoices + j;
        const double found = std::exp(static_cast<double>(batch.teacher_logs[at]));
        EXPECT_NEAR(found, sorted[j], 1e-5);
        EXPECT_NEAR(found, all[static_cast<size_t>(batch.teacher_ids[at])], 1e-5);
      }
    }
  }
}

TEST_F(TeacherTest, SeveralTeachersGiveTheMeanOfTheirProbabilities) {
  const auto both = open({saved(1), saved(2)}), first = open({saved(1)});
  data::PackedBatch batch;
  const data::TokenPairs view = pairs();
  const PairBatches plain(view, packing());
  ASSERT_TRUE(plain.open({})->next(batch));
  both->attach(batch);
  const std::vector<double> p = probabilities(1, batch), q = probabilities(2, batch);
  int agreed = 0;
  for (size_t row = 0; row < batch.targets.size(); ++row) {
    for (size_t j = 0; j < kTeacherChoices; ++j) {
      const size_t at = row * kTeacherChoices + j;
      ASSERT_GE(batch.teacher_ids[at], 0);
      const size_t token = row * kTeacherPieces + static_cast<size_t>(batch.teacher_ids[at]);
      const double found = std::exp(static_cast<double>(batch.teacher_logs[at]));
      EXPECT_LE(found, (p[token] + q[token]) / 2 + 1e-5);  // as far as both have it
      agreed += std::abs(found - (p[token] + q[token]) / 2) < 1e-5 ? 1 : 0;
      const size_t before = j > 0 ? at - 1 : at;
      EXPECT_LE(batch.teacher_logs[at], batch.teacher_logs[before]);
    }
  }
  EXPECT_GT(agreed, 0);
  const std::vector<int32_t> mixed = batch.teacher_ids;
  first->attach(batch);
  EXPECT_NE(batch.teacher_ids, mixed);
}

TEST_F(TeacherTest, WhatWasInterruptedOrDamagedIsMadeAgainTheSame) {
  const std::string teacher = saved(1);
  ASSERT_NE(open({teacher}), nullptr);
  const std::vector<std::string> names = parts();
  ASSERT_EQ(names.size(), 3u);
  std::vector<std::string> bytes;
  for (const std::string& name : names) bytes.push_back(read("cache/" + name));
  ASSERT_NE(open({teacher}, 1), nullptr);
  EXPECT_EQ(made_, 0u);
  std::filesystem::remove_all(path("cache"));
  stop_ = 1;
  EXPECT_EQ(open({teacher}), nullptr);
  EXPECT_EQ(parts().size(), 1u);
  stop_ = 0;
  ASSERT_NE(open({teacher}, 1), nullptr);
  EXPECT_EQ(made_, 2u);
  write("cache/" + names[1], bytes[1].substr(0, bytes[1].size() / 2));
  std::string changed = bytes[2];
  changed[100] = static_cast<char>(changed[100] ^ 1);
  write("cache/" + names[2], changed);
  ASSERT_NE(open({teacher}), nullptr);
  EXPECT_EQ(made_, 2u);
  for (size_t i = 0; i < names.size(); ++i) EXPECT_TRUE(read("cache/" + names[i]) == bytes[i]) << i;
}

TEST_F(TeacherTest, RefusesWhatIsNoTeacherOfThisStudent) {
  const auto refused = [&](const std::string& folder, std::initializer_list<const char*> parts) {
    expect_refused([&] { open({folder}); }, parts, size_t{256} << 20);
  };
  refused(path("nowhere"), {"teacher_model", "nowhere"});
  make_vocabulary("other.spm", 19);
  refused(saved(3, "other.spm"), {"another vocabulary", "expected the same"});
}

class TeacherGpu : public TeacherTest {};

TEST_F(TeacherGpu, SaysWhatTheHostSays) {
  if (heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  const std::string teacher = saved(1);
  const auto host = open({teacher}), gpu = open({teacher}, 2, {DeviceType::cuda, 0});
  const data::TokenPairs view = pairs();
  const PairBatches plain(view, packing());
  const auto stream = plain.open({});
  data::PackedBatch batch;
  int64_t same = 0, all = 0;
  for (int i = 0; i < 200 && stream->next(batch); ++i) {
    host->attach(batch);
    const std::vector<int32_t> ids = batch.teacher_ids;
    const std::vector<float> logs = batch.teacher_logs;
    gpu->attach(batch);
    ASSERT_EQ(batch.teacher_ids.size(), ids.size());
    for (size_t j = 0; j < ids.size(); ++j) {
      EXPECT_NEAR(batch.teacher_logs[j], logs[j], 0.05);
      same += batch.teacher_ids[j] == ids[j] ? 1 : 0;
      ++all;
    }
  }
  EXPECT_GT(same, all * 9 / 10);  // close ones may change places
}

}  // namespace
}  // namespace heddle::train
