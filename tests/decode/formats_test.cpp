// Models of other tools, as those tools wrote them (tools/make_format_fixtures.py,
// tools/make_translation_fixtures.py): the same tokens and the same text as they translate to, also
// after the model has been written in every format that can hold it.
#include "heddle/model/formats/formats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "heddle/decode/model_engine.h"
#include "heddle/decode/scheduler.h"
#include "heddle/decode/translator.h"
#include "heddle/io/json.h"
#include "heddle/io/source.h"
#include "heddle/text/tokenizer.h"
#include "heddle/text/vocabulary.h"
#include "tests/io/files.h"
#include "tests/model/made_models.h"

namespace heddle::decode {
namespace {

using model::ModelFiles;
using Tokens = std::vector<int32_t>;

const std::string kFixtures = HEDDLE_TEST_DATA "/formats/";
constexpr int64_t kMostTokens = 20;  // that the fixtures' translations may have
constexpr size_t kAll = 10'000'000;

struct Sample {
  Tokens source, target;
};

/// The pieces that number a model's tokens.
std::vector<std::string> pieces_of(const std::string& fixture, const std::string& list) {
  const std::string path = kFixtures + fixture + "/" + list;
  return text::parse_vocabulary(io::read_text(path, kAll), path);
}

io::Value::List expected_of(const std::string& fixture) {
  const std::string path = kFixtures + fixture + "/expected.json";
  return *io::parse_json(io::read_text(path, kAll), path).list();
}

/// Tokens, by number or by their pieces.
Tokens tokens_of(const io::Value& list, const std::vector<std::string>& pieces) {
  Tokens tokens;
  for (const io::Value& item : *list.list()) {
    if (item.integer() != nullptr) {
      tokens.push_back(static_cast<int32_t>(*item.integer()));
      continue;
    }
    const auto found = std::find(pieces.begin(), pieces.end(), *item.text());
    tokens.push_back(static_cast<int32_t>(found - pieces.begin()));
  }
  return tokens;
}

std::vector<Sample> samples_of(const std::string& fixture, const std::string& list) {
  const std::vector<std::string> pieces = pieces_of(fixture, list);
  std::vector<Sample> samples;
  for (const io::Value& item : expected_of(fixture)) {
    samples.push_back(
        {tokens_of(*item.find("source"), pieces), tokens_of(*item.find("target"), pieces)});
  }
  return samples;
}

/// Greedy translations of all samples at once, the end included where it was written.
std::vector<Tokens> translate(const ModelFiles& files, const std::vector<Sample>& samples,
                              model::Precision precision = model::Precision::f32,
                              std::vector<double>* scores = nullptr) {
  const model::Transformer transformer(files, precision);
  ModelEngine engine(transformer, {.rows = 8, .source_tokens = 256, .allow_unknown = true});
  Scheduler scheduler(engine, {});
  Options options;
  options.max_length_extra = kMostTokens;
  options.min_length = 1;  // CTranslate2's default
  options.scores = scores != nullptr;
  if (scores != nullptr) scores->resize(samples.size());
  const auto shared = std::make_shared<const Options>(options);
  for (size_t i = 0; i < samples.size(); ++i) {
    scheduler.submit({.id = i, .source = samples[i].source, .options = shared});
  }
  std::vector<Tokens> targets(samples.size());
  while (!scheduler.idle()) {
    std::vector<Result> results;
    scheduler.step(results);
    for (const Result& result : results) {
      Tokens& target = targets[result.id];
      target = result.hypotheses.at(0).tokens;
      if (scores != nullptr) (*scores)[result.id] = result.hypotheses[0].score;
      if (result.hypotheses[0].ended) target.push_back(files.config.eos);
      if (std::ssize(target) > kMostTokens) target.resize(kMostTokens);
    }
  }
  return targets;
}

std::vector<Tokens> targets_of(const std::vector<Sample>& samples) {
  std::vector<Tokens> targets;
  for (const Sample& sample : samples) targets.push_back(sample.target);
  return targets;
}

struct Fixture {
  const char* name;
  const char* list;
};

const std::vector<Fixture> kModels{
    {"ct2_post_f32", "shared_vocabulary.json"}, {"ct2_post_f16", "shared_vocabulary.json"},
    {"ct2_pre_i8", "shared_vocabulary.json"},   {"ct2_glu_i16", "shared_vocabulary.json"},
    {"ct2_marian", "shared_vocabulary.json"},   {"hf_marian", "vocab.json"}};

class FormatsTranslate : public heddle::testing::FolderTest {
 protected:
  /// Saves in a format and loads again; nothing where the format cannot hold the model.
  std::optional<ModelFiles> through(const std::string& format, const ModelFiles& files,
                                    const model::Pieces& pieces) {
    const std::string folder = path("saved" + std::to_string(++saved_));
    try {
      if (format == "heddle") model::save_model(files, folder);
      if (format == "ctranslate2") model::save_ctranslate2(files, folder, pieces);
      if (format == "marian") model::save_marian(files, folder);
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("expected what"), std::string::npos) << error.what();
      return std::nullopt;
    }
    return model::load_model(folder);
  }

  /// The folder that was written last.
  std::string last() const { return path("saved" + std::to_string(saved_)); }

 private:
  int saved_ = 0;
};

TEST_F(FormatsTranslate, SameTokensAsTheirOwnTools) {
  for (const auto& [name, list] : kModels) {
    const std::vector<Sample> samples = samples_of(name, list);
    EXPECT_EQ(translate(model::load_model(kFixtures + name), samples), targets_of(samples)) << name;
  }
}

TEST_F(FormatsTranslate, RoundTripsKeepTheTokens) {
  std::map<std::string, int> kept;
  for (const auto& [name, list] : kModels) {
    const std::vector<Sample> samples = samples_of(name, list);
    const ModelFiles files = model::load_model(kFixtures + name);
    const std::vector<std::string> pieces = pieces_of(name, list);
    for (const char* format : {"heddle", "ctranslate2", "marian"}) {
      const auto again = through(format, files, {pieces, pieces});
      if (!again) continue;
      ++kept[format];
      EXPECT_EQ(translate(*again, samples), targets_of(samples)) << name << " as " << format;
    }
  }
  EXPECT_EQ(kept["heddle"], 6);
  EXPECT_EQ(kept["ctranslate2"], 6);
  EXPECT_EQ(kept["marian"], 0) << "it starts from nothing, and scales no embeddings beside tables";
}

TEST_F(FormatsTranslate, ChainsOfFormatsKeepTheTokens) {
  std::vector<std::string> pieces{"</s>", "<unk>"};
  for (char c = 'a'; c < 'a' + 10; ++c) pieces.emplace_back(1, c);
  const std::vector<Sample> samples{{{5, 4, 3, 0}, {}}, {{9, 0}, {}}, {{2, 3, 2, 3, 11, 7, 0}, {}}};
  model::TransformerConfig attentive = model::testing::small_config();
  model::TransformerConfig cells = attentive;
  cells.decoder_kind = model::DecoderKind::ssru;
  for (const auto& [config, chain] :
       {std::pair{cells, std::vector<std::string>{"marian", "heddle", "marian"}},
        std::pair{attentive, std::vector<std::string>{"marian", "heddle", "ctranslate2", "heddle",
                                                      "ctranslate2"}}}) {
    ModelFiles files = model::testing::made_model(config);
    std::vector<double> scores, again_scores;
    const std::vector<Tokens> before = translate(files, samples, model::Precision::f32, &scores);
    EXPECT_GT(std::abs(scores[0] - scores[2]), 1e-3);
    for (const std::string& format : chain) {
      const auto again = through(format, files, {pieces, pieces});
      ASSERT_TRUE(again.has_value()) << format;
      files = *again;
      EXPECT_EQ(translate(files, samples, model::Precision::f32, &again_scores), before) << format;
      for (size_t i = 0; i < scores.size(); ++i) {
        EXPECT_NEAR(again_scores[i], scores[i], 1e-5) << format;
      }
    }
  }
}

TEST_F(FormatsTranslate, QuantisedRoundTripsKeepTheTokens) {
  for (const auto& [name, list] : kModels) {
    const std::vector<Sample> samples = samples_of(name, list);
    const std::vector<std::string> pieces = pieces_of(name, list);
    const ModelFiles files = model::quantised(model::load_model(kFixtures + name), DType::i8);
    for (const auto precision : {model::Precision::native, model::Precision::f32}) {
      const std::vector<Tokens> before = translate(files, samples, precision);
      for (const char* format : {"heddle", "ctranslate2"}) {
        const auto again = through(format, files, {pieces, pieces});
        ASSERT_TRUE(again.has_value());
        EXPECT_EQ(translate(*again, samples, precision), before) << name << " as " << format;
      }
    }
  }
}

TEST_F(FormatsTranslate, TextByTheFilesBeside) {
  for (const char* name : {"hf_marian", "ct2_marian"}) {
    const ModelFiles files = model::load_model(kFixtures + name);
    const text::Tokenizer tokenizer =
        text::load_tokenizer(files.source_vocabulary, files.source_pieces);
    const Translator translator(kFixtures + name, {.threads = 1, .allow_unknown = true});
    for (const io::Value& item : expected_of(name)) {
      Tokens source = tokenizer.encode(*item.find("text")->text());
      source.push_back(files.config.eos);
      EXPECT_EQ(source, tokens_of(*item.find("source"), {})) << name;
      EXPECT_EQ(translator.translate(*item.find("text")->text()).text, *item.find("output")->text())
          << name << ": " << *item.find("text")->text();
    }
  }
}

TEST_F(FormatsTranslate, TextAfterRoundTrips) {
  for (const char* name : {"hf_marian", "ct2_marian"}) {
    const ModelFiles files = model::load_model(kFixtures + name);
    const std::vector<std::string> pieces =
        pieces_of("hf_marian", "vocab.json");  // of ct2_marian but for the padding
    const std::span<const std::string> own(pieces.begin(),
                                           pieces.begin() + files.config.target_vocabulary);
    const std::vector<std::string> list(own.begin(), own.end());
    for (const char* format : {"heddle", "ctranslate2", "marian"}) {
      if (!through(format, files, {list, list})) continue;
      const Translator translator(last(), {.threads = 1, .allow_unknown = true});
      for (const io::Value& item : expected_of(name)) {
        EXPECT_EQ(translator.translate(*item.find("text")->text()).text,
                  *item.find("output")->text())
            << name << " as " << format;
      }
    }
  }
}

TEST_F(FormatsTranslate, PadIsNeverWritten) {
  // The fixture's bias wants nothing else.
  const ModelFiles files = model::load_model(kFixtures + "hf_marian");
  const float* bias = files.parameters.find("final_logits_bias")->values.data<float>();
  const auto pad = static_cast<size_t>(files.config.pad);
  for (size_t i = 0; i < pad; ++i) ASSERT_LT(bias[i], bias[pad]);
  ModelFiles forgetful = files;
  forgetful.config.pad = -1;
  const std::vector<Sample> samples = samples_of("hf_marian", "vocab.json");
  EXPECT_EQ(translate(forgetful, samples)[0], Tokens(kMostTokens, files.config.pad));
  forgetful.config.never_written = {files.config.pad};
  EXPECT_EQ(translate(forgetful, samples), targets_of(samples));
}

}  // namespace
}  // namespace heddle::decode
