// CTranslate2 models: those that CTranslate2 wrote (tools/make_format_fixtures.py), and the cases
// CT-10 and CT-13 … CT-16 of hostile ones.
#include "heddle/io/ctranslate2.h"

#include <filesystem>
#include <functional>

#include "heddle/model/formats/formats.h"
#include "tests/io/files.h"
#include "tests/model/made_models.h"

namespace heddle::model {
namespace {

using heddle::testing::expect_refused;
using testing::same_bits;

const std::string kFixtures = HEDDLE_TEST_DATA "/formats/";

Pieces pieces() {
  Pieces result;
  result.target = {"</s>", "<unk>", "<s>"};
  for (char c = 'a'; c <= 'u'; ++c) result.target.emplace_back(1, c);
  result.source = result.target;
  return result;
}

using Variables = std::map<std::string, io::Ctranslate2Output>;
using Aliases = std::map<std::string, std::string>;

class Ctranslate2Model : public heddle::testing::FolderTest {
 protected:
  /// A copy of a fixture whose variables and aliases were changed.
  void expect_load_refused(const std::function<void(Variables&, Aliases&)>& change,
                           std::initializer_list<const char*> parts,
                           const std::string& fixture = "ct2_pre_i8") {
    copy(fixture);
    Variables variables;
    Aliases aliases;
    {
      const io::Ctranslate2File file(io::Source(path("m/model.bin")));
      for (const io::Ctranslate2Variable& variable : file.variables()) {
        const bool i16 = variable.stored == io::Ctranslate2Type::i16;
        if (i16)
          variables[variable.name].number =
              static_cast<int16_t>(*file.read(variable).data<float>());
        if (!i16) variables[variable.name].tensor = file.read(variable);
      }
      for (const auto& [alias, name] : file.aliases()) aliases.emplace(alias, name);
    }
    change(variables, aliases);
    io::write_ctranslate2(path("m/model.bin"), "TransformerSpec", 7, variables, aliases);
    expect_refused([&] { load_model(path("m")); }, parts);
  }

  void copy(const std::string& fixture) {
    std::filesystem::remove_all(path("m"));
    std::filesystem::copy(kFixtures + fixture, path("m"));
  }
};

TEST_F(Ctranslate2Model, CTA1RealModels) {
  const ModelFiles post = load_model(kFixtures + "ct2_post_f32");
  EXPECT_EQ(post.config.width, 16);
  EXPECT_EQ(post.config.encoder.heads, 2);
  EXPECT_EQ(post.config.postprocess, "dan");
  EXPECT_EQ(post.config.ties, Ties::all);
  EXPECT_EQ(post.config.max_positions, 40);
  EXPECT_EQ(post.config.decoder_start, -1);
  EXPECT_EQ(post.config.eos, 0);
  EXPECT_TRUE(post.config.scale_embedding);
  const ModelFiles pre = load_model(kFixtures + "ct2_pre_i8/model.bin");
  EXPECT_EQ(pre.config.preprocess, "n");
  EXPECT_EQ(pre.config.postprocess_top, "n");
  EXPECT_EQ(pre.config.decoder_start, 2);
  EXPECT_EQ(pre.parameters.find("model.encoder.layers.1.self_attn.k_proj.weight")->scales.dim(0),
            16);
  const ModelFiles glu = load_model(kFixtures + "ct2_glu_i16");
  EXPECT_TRUE(glu.config.gated);
  EXPECT_EQ(glu.config.ties, Ties::none);
  EXPECT_EQ(glu.parameters.find("lm_head.weight")->values.dtype(), DType::f32);
  const ModelFiles half = load_model(kFixtures + "ct2_post_f16");
  EXPECT_EQ(half.parameters.find("lm_head.weight")->values.dtype(), DType::f16);
}

TEST_F(Ctranslate2Model, RoundTripKeepsEveryByte) {
  for (const char* fixture : {"ct2_post_f32", "ct2_post_f16", "ct2_pre_i8", "ct2_glu_i16"}) {
    const ModelFiles model = load_model(kFixtures + fixture);
    save_model(model, path("ours"));
    const ModelFiles ours = load_model(path("ours"));
    testing::expect_same(model, ours);
    save_ctranslate2(ours, path("back"), pieces());
    const io::Ctranslate2File before(io::Source(kFixtures + fixture + "/model.bin"));
    const io::Ctranslate2File after(io::Source(path("back/model.bin")));
    for (const io::Ctranslate2Variable& variable : before.variables()) {
      if (variable.name.ends_with("_scale")) continue;  // 1 / (1 / s) may differ in the last bit
      const io::Ctranslate2Variable* same = after.find(variable.name);
      ASSERT_NE(same, nullptr) << fixture << ": " << variable.name;
      if (variable.stored == io::Ctranslate2Type::i16 && variable.shape.rank() == 2) continue;
      EXPECT_TRUE(same_bits(before.read(variable), after.read(*same))) << fixture << variable.name;
    }
    EXPECT_EQ(load_model(path("back")).config, model.config);
  }
}

TEST_F(Ctranslate2Model, CT10Variables) {
  expect_load_refused(
      [](Variables& v, Aliases&) {
        v.erase("encoder/layer_0/ffn/linear_1/weight");
        v.erase("encoder/layer_0/ffn/linear_1/weight_scale");
      },
      {"encoder/layer_0/ffn/linear_1/weight"});
  expect_load_refused([](Variables& v, Aliases&) { v.erase("encoder/num_heads"); },
                      {"encoder/num_heads"});
  expect_load_refused([](Variables& v, Aliases&) { v["encoder/num_heads"].number = 3; }, {"heads"});
  expect_load_refused([](Variables& v, Aliases&) { v["encoder/num_heads"].number = -1; },
                      {"found -1"});
  expect_load_refused(
      [](Variables& v, Aliases&) {
        v["decoder/projection/bias"].tensor = Tensor::zeros({5}, DType::f32);
      },
      {"final_logits_bias"});
  expect_load_refused(
      [](Variables& v, Aliases&) {
        v["encoder/layer_norm/gamma"].tensor = Tensor::zeros({16}, DType::i8);
      },
      {"encoder/layer_norm/gamma", "float vector"});
  expect_load_refused(
      [](Variables& v, Aliases&) {
        v["encoder/layer_norm/gamma"].tensor = Tensor::zeros({2, 8}, DType::f32);
      },
      {"float vector"});
  expect_load_refused(
      [](Variables& v, Aliases&) {
        v["encoder/layer_0/self_attention/relative_position_keys"].tensor =
            Tensor::zeros({2, 8}, DType::f32);
      },
      {"relative_position_keys", "no part for"});
  expect_load_refused(
      [](Variables& v, Aliases&) { v["decoder/alibi"].tensor.data<int8_t>()[0] = 1; }, {"alibi"});
  expect_load_refused(
      [](Variables& v, Aliases&) { v["decoder/activation"].tensor.data<int8_t>()[0] = 5; },
      {"activation"});
  expect_load_refused(
      [](Variables& v, Aliases&) { v["decoder/pre_norm"].tensor.data<int8_t>()[0] = 0; },
      {"pre_norm"});
}

TEST_F(Ctranslate2Model, CT13Vocabularies) {
  const auto refused = [&](const std::string& content, std::initializer_list<const char*> parts) {
    copy("ct2_pre_i8");
    write("m/shared_vocabulary.json", content);
    expect_refused([&] { load_model(path("m")); }, parts);
  };
  refused("[\"</s>\", \"<unk>\", \"<s>\"]", {"found 3 pieces", "expected 24"});
  refused("[\"</s>\",", {"shared_vocabulary.json"});
  refused("{\"</s>\": 0}", {"a list"});
  refused("[1]", {"text"});
  refused("[\"a\"]", {"eos_token", "'</s>'"});
  copy("ct2_pre_i8");
  std::filesystem::remove(path("m/shared_vocabulary.json"));
  expect_refused([&] { load_model(path("m")); }, {"no vocabulary"});
}

TEST_F(Ctranslate2Model, CT14Configs) {
  const auto refused = [&](const std::string& content, std::initializer_list<const char*> parts) {
    copy("ct2_pre_i8");
    write("m/config.json", content);
    expect_refused([&] { load_model(path("m")); }, parts);
  };
  refused("{", {"config.json"});
  refused("[]", {"config.json", "an object"});
  refused("{\"quantization_type\": 1}", {"quantization_type", "AWQ"});
  refused("{\"quantization_type\": \"x\"}", {"quantization_type"});
  refused("{\"eos_token\": 1}", {"eos_token", "text"});
  refused("{\"decoder_start_token\": null}", {"decoder_start_token"});
  refused("{\"layer_norm_epsilon\": \"small\"}", {"layer_norm_epsilon"});
}

TEST_F(Ctranslate2Model, WhetherSourcesEnd) {
  const auto ends = [&](const std::string& content) {
    copy("ct2_pre_i8");
    write("m/config.json", content);
    return load_model(path("m")).config.ends_source;
  };
  EXPECT_FALSE(ends("{}"));  // OpenNMT: from <s>, sources as they are
  EXPECT_TRUE(ends("{\"add_source_eos\": true}"));
  EXPECT_TRUE(ends("{\"decoder_start_token\": \"</s>\"}"));
  EXPECT_TRUE(load_model(kFixtures + "ct2_marian").config.ends_source);
  expect_refused([&] { ends("{\"add_source_bos\": true}"); }, {"add_source_bos", "expected false"});
  for (const char* fixture : {"ct2_pre_i8", "ct2_marian"}) {
    const ModelFiles model = load_model(kFixtures + fixture);
    Pieces list = pieces();
    list.target.resize(static_cast<size_t>(model.config.target_vocabulary));
    for (size_t i = 24; i < list.target.size(); ++i) list.target[i] = "p" + std::to_string(i);
    list.source = list.target;
    save_ctranslate2(model, path("again"), list);
    EXPECT_EQ(load_model(path("again")).config.ends_source, model.config.ends_source) << fixture;
  }
}

TEST_F(Ctranslate2Model, CT15Scales) {
  const char* name = "decoder/embeddings/weight_scale";
  expect_load_refused([&](Variables& v, Aliases&) { v.erase(name); }, {name});
  for (const Shape& shape : {Shape{23}, Shape{}, Shape{1}, Shape{24, 1}}) {
    expect_load_refused(
        [&](Variables& v, Aliases&) { v[name].tensor = Tensor::zeros(shape, DType::f32); },
        {name, "float32 [24]"});
  }
  for (const float value : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN()}) {
    expect_load_refused([&](Variables& v, Aliases&) { v[name].tensor.data<float>()[7] = value; },
                        {name, "above 0", "offset"});
  }
}

TEST_F(Ctranslate2Model, CT16Specs) {
  for (const auto& [spec, revision] : {std::pair{"TransformerBase", 7u},
                                       {"WhisperSpec", 3u},
                                       {"TransformerSpec", 8u},
                                       {"TransformerSpec", 0u}}) {
    copy("ct2_pre_i8");
    io::write_ctranslate2(path("m/model.bin"), spec, revision, {}, {});
    expect_refused([&] { load_model(path("m")); }, {"model.bin", "expected"});
  }
}

TEST_F(Ctranslate2Model, WhatItCannotHold) {
  TransformerConfig config = testing::small_config();
  config.decoder_kind = DecoderKind::ssru;
  expect_refused([&] { save_ctranslate2(testing::made_model(config), path("x"), {}); }, {"SSRU"});
  config = testing::small_config();
  expect_refused([&] { save_ctranslate2(testing::made_model(config), path("x"), {}); },
                 {"found 0 pieces"});
  EXPECT_FALSE(std::filesystem::exists(path("x")));
}

}  // namespace
}  // namespace heddle::model
