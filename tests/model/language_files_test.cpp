// Files of language models: what is saved is what was read, and what is refused is named.
#include <gtest/gtest.h>

#include <cstring>

#include "heddle/io/json.h"
#include "heddle/io/source.h"
#include "tests/io/files.h"
#include "tests/io/gguf_bytes.h"
#include "tests/model/language_models.h"

namespace heddle::model {
namespace {

using heddle::testing::bytes_of;
using heddle::testing::expect_refused;
namespace gguf = heddle::testing::gguf;

class LanguageFiles : public heddle::testing::FolderTest {};

TEST_F(LanguageFiles, SavedIsWhatWasRead) {
  for (const std::string& name : language_names()) {
    SCOPED_TRACE(name);
    const ModelFiles model = load_model(language_folder(name));
    save_model(model, path(name));
    EXPECT_EQ(recognise(path(name)), Format::huggingface);
    const ModelFiles again = load_model(path(name));
    EXPECT_EQ(again.config, model.config);
    for (const auto& [parameter, values] : model.parameters) {
      // Gemma's norms go through a subtraction, which does not round what bf16 held.
      const Tensor found = to_f32(*again.parameters.find(parameter)), expected = to_f32(values);
      ASSERT_EQ(found.shape(), expected.shape());
      EXPECT_EQ(std::memcmp(found.raw(), expected.raw(),
                            static_cast<size_t>(expected.elements()) * sizeof(float)),
                0)
          << parameter;
    }
    const auto type = [&](const std::string& folder) {
      const std::string file = folder + "/config.json";
      return *io::parse_json(io::read_text(file, 1 << 20), file).find("model_type")->text();
    };
    EXPECT_EQ(type(path(name)), type(language_folder(name)));
  }
}

TEST_F(LanguageFiles, QuantisedRuns) {
  const LanguageGolden golden("qwen3");
  const ModelFiles small = quantised(load_model(language_folder("qwen3")), DType::i8);
  save_model(small, path("small"));
  const Transformer model(load_model(path("small")), Precision::f32);
  EXPECT_LT(language_error(forward_logits(model, golden.texts()), golden.logits), 0.05);
}

TEST_F(LanguageFiles, GgufSavedAsAFolder) {
  const ModelFiles model = load_model(language_folder("llama31") + "/model.gguf");
  save_model(model, path("saved"));
  const LanguageGolden golden("llama31");
  const Transformer again(load_model(path("saved")), Precision::f32);
  EXPECT_LT(language_error(forward_logits(again, golden.texts()), golden.logits), 5e-6);
}

/// The config of one of the models with a part of its text replaced.
TransformerConfig config_with(const std::string& name, const std::string& part,
                              const std::string& by) {
  std::string text = io::read_text(language_folder(name) + "/config.json", 1 << 20);
  const size_t at = text.find(part);
  EXPECT_NE(at, std::string::npos) << part;
  text.replace(at, part.size(), by);
  const io::Value value = io::parse_json(text, "config.json");
  return read_config(io::Field(value, "config.json"));
}

TEST_F(LanguageFiles, RefusedConfigsAreNamed) {
  const auto refused = [](const std::string& name, const std::string& part, const std::string& by,
                          const char* message) {
    expect_refused([&] { config_with(name, part, by); }, {message, "expect"});
  };
  refused("gemma3", R"("attn_logit_softcapping": null)", R"("attn_logit_softcapping": 50.0)",
          "attn_logit_softcapping");
  refused("gemma3", R"("final_logit_softcapping": null)", R"("final_logit_softcapping": 30.0)",
          "final_logit_softcapping");
  refused("gemma3", R"("use_bidirectional_attention": false)",
          R"("use_bidirectional_attention": true)", "use_bidirectional_attention");
  refused("gemma3", R"("gemma3_text")", R"("gemma2")", "gemma3_text");
  refused("llama3", R"("rope_type": "llama3")", R"("rope_type": "longrope")", "longrope");
  refused("llama3", R"("rope_type": "llama3")", R"("rope_type": "dynamic")", "dynamic");
  refused("llama3", R"("factor": 4.0)", R"("factor": 0)", "factor");
  refused("llama3", R"("high_freq_factor": 4.0)", R"("high_freq_factor": 1.0)", "high_freq_factor");
  refused("llama3", R"("head_dim": 16)", R"("head_dim": 15)", "even");
  refused("llama3", R"("rope_theta": 1000.0)", R"("rope_theta": 0)", "rope_theta");
  refused("llama3", R"("num_key_value_heads": 2)", R"("num_key_value_heads": 3)", "divisor");
  refused("llama3", R"("num_hidden_layers": 2)", R"("num_hidden_layers": 99999999)",
          "num_hidden_layers");
  refused("llama3", R"("rms_norm_eps": 1e-06)", R"("rms_norm_eps": 0)", "layer_norm_eps");
  refused("llama3", R"("hidden_act": "silu")", R"("hidden_act": "mish")", "hidden_act");
  refused("llama3", R"("eos_token_id": 2)", R"("eos_token_id": 48)", "eos_token_id");
  refused("llama", R"("vocab_size": 48)", R"("vocab_size": 7)", "eos_token_id");
  refused("qwen2_window", R"("sliding_window": 8)",
          R"("sliding_window": 8, "layer_types": ["chunked_attention", "full_attention"])",
          "chunked_attention");
  refused("qwen2_window", R"("sliding_window": 8)",
          R"("sliding_window": 8, "layer_types": ["sliding_attention"])", "layer_types has 1");
  refused("mistral", R"("sliding_window": 8)", R"("sliding_window": 0)", "sliding_window");
  refused("mistral", R"("sliding_window": 8)", R"("num_local_experts": 8)", "num_local_experts");
}

TEST_F(LanguageFiles, DefaultsAreThoseOfTheFamilies) {
  const TransformerConfig config =
      config_with("mistral", R"("sliding_window": 8)", R"("sliding_window": null)");
  EXPECT_EQ(config.window, 0);
  EXPECT_EQ(config_with("mistral", R"("sliding_window": 8,)", "").window, 4096);
  EXPECT_EQ(
      config_with("qwen2_window", R"("use_sliding_window": true)", R"("use_sliding_window": false)")
          .window,
      0);
  const TransformerConfig llama = load_model(language_folder("llama")).config;
  EXPECT_EQ(llama.eos, 2);
  EXPECT_EQ(llama.other_eos, std::vector<int32_t>{7});
  EXPECT_EQ(load_model(language_folder("gemma3")).config.sliding_layers,
            (std::vector<bool>{true, true, false, true}));
}

TEST_F(LanguageFiles, MissingAndForeignTensorsAreNamed) {
  ModelFiles model = load_model(language_folder("qwen3"));
  model.parameters.remove("model.layers.1.self_attn.q_norm.weight");
  expect_refused([&] { save_model(model, path("less")); }, {"q_norm", "missing"});
  model = load_model(language_folder("qwen3"));
  model.parameters.add("model.layers.0.self_attn.q_proj.bias",
                       {.values = Tensor::zeros({64}, DType::f32)});
  expect_refused([&] { save_model(model, path("more")); }, {"q_proj.bias", "no place"});
}

// GG-39 … GG-44: metadata of a model that does not fit it.

struct GgufModelBytes {
  std::vector<std::string> pairs;
  void set(const std::string& key, uint32_t type, const std::string& value) {
    std::erase_if(pairs,
                  [&](const std::string& each) { return each.starts_with(gguf::text(key)); });
    pairs.push_back(gguf::pair(key, type, value));
  }
  void set(const std::string& key, uint32_t value) { set(key, gguf::kU32, bytes_of(value)); }
  void set(const std::string& key, float value) { set(key, gguf::kF32, bytes_of(value)); }
};

GgufModelBytes small_gguf() {
  GgufModelBytes made;
  made.set("general.architecture", gguf::kString, gguf::text("llama"));
  made.set("llama.context_length", 16u);
  made.set("llama.embedding_length", 8u);
  made.set("llama.block_count", 1u);
  made.set("llama.feed_forward_length", 8u);
  made.set("llama.attention.head_count", 2u);
  made.set("llama.attention.head_count_kv", 1u);
  made.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  made.set("llama.rope.freq_base", 10000.0f);
  made.set("tokenizer.ggml.eos_token_id", 2u);
  return made;
}

std::string with_tensors(const GgufModelBytes& model, const std::string& left_out = "",
                         const std::string& added = "") {
  std::vector<std::pair<std::string, std::vector<uint64_t>>> tensors{
      {"token_embd.weight", {8, 4}},        {"blk.0.attn_q.weight", {8, 8}},
      {"blk.0.attn_k.weight", {8, 4}},      {"blk.0.attn_v.weight", {8, 4}},
      {"blk.0.attn_output.weight", {8, 8}}, {"blk.0.ffn_gate.weight", {8, 8}},
      {"blk.0.ffn_up.weight", {8, 8}},      {"blk.0.ffn_down.weight", {8, 8}},
      {"blk.0.attn_norm.weight", {8}},      {"blk.0.ffn_norm.weight", {8}},
      {"output_norm.weight", {8}}};
  if (!added.empty()) tensors.push_back({added, {8}});
  std::vector<std::string> entries;
  uint64_t offset = 0;
  for (const auto& [name, lengths] : tensors) {
    if (name == left_out) continue;
    entries.push_back(gguf::entry(name, lengths, 0, offset));
    offset += 32 * lengths[0] * (lengths.size() > 1 ? lengths[1] : 1) / 8;
  }
  return gguf::file(model.pairs, entries, std::string(static_cast<size_t>(offset), '\0'));
}

TEST_F(LanguageFiles, GgufWithoutASense) {
  const ModelFiles good = load_model(write("good.gguf", with_tensors(small_gguf())));
  EXPECT_EQ(good.config.ties, Ties::target_output);
  EXPECT_EQ(good.config.eos, 2);
  const auto refused = [&](const auto& change, std::initializer_list<const char*> parts) {
    GgufModelBytes model = small_gguf();
    change(model);
    const std::string file = write("bad.gguf", with_tensors(model));
    expect_refused([&] { load_model(file); }, parts);
  };
  using Bytes = GgufModelBytes;
  refused([](Bytes& m) { m.set("general.architecture", gguf::kString, gguf::text("gemma2")); },
          {"general.architecture", "gemma2", "qwen3"});
  for (const uint32_t blocks : {0u, 33u, 0xffffffffu}) {  // GG-42
    refused([&](Bytes& m) { m.set("llama.block_count", blocks); },
            {blocks == 33 ? "blk.1" : "block_count"});
  }
  for (const char* key :
       {"llama.attention.head_count", "llama.attention.head_count_kv"}) {  // GG-43
    refused([&](Bytes& m) { m.set(key, 0u); }, {key});
    refused([&](Bytes& m) { m.set(key, 3u); }, {"heads"});
  }
  for (const float epsilon : {NAN, 0.0f, -1.0f}) {  // GG-44
    refused([&](Bytes& m) { m.set("llama.attention.layer_norm_rms_epsilon", epsilon); }, {"eps"});
  }
  for (const float base : {INFINITY, 0.0f, -5.0f}) {
    refused([&](Bytes& m) { m.set("llama.rope.freq_base", base); }, {"rope_theta"});
  }
  for (const uint32_t token : {4u, 0xffffffffu}) {  // GG-40
    refused([&](Bytes& m) { m.set("tokenizer.ggml.eos_token_id", token); }, {"eos_token_id"});
  }
  refused(
      [](Bytes& m) {
        m.set("tokenizer.ggml.tokens", gguf::kArray,
              gguf::array(gguf::kString, 1, gguf::text("a")));
      },
      {"tokenizer.ggml.tokens", "4 texts"});
  refused([](Bytes& m) { m.set("llama.expert_count", 8u); }, {"expert_count"});
  refused([](Bytes& m) { m.set("llama.attn_logit_softcapping", 50.0f); }, {"softcapping"});
  refused([](Bytes& m) { m.set("llama.rope.scaling.type", gguf::kString, gguf::text("longrope")); },
          {"longrope"});
  refused([](Bytes& m) { m.set("llama.rope.dimension_count", 2u); }, {"dimension_count"});
  refused([](Bytes& m) { m.set("llama.attention.value_length", 8u); }, {"value_length"});
  refused([](Bytes& m) { m.set("llama.embedding_length", 16u); }, {"token_embd"});
}

TEST_F(LanguageFiles, GgufWithOtherTensors) {
  expect_refused(
      [&] { load_model(write("a.gguf", with_tensors(small_gguf(), "blk.0.ffn_up.weight"))); },
      {"found no", "blk.0.ffn_up.weight"});
  expect_refused(
      [&] { load_model(write("b.gguf", with_tensors(small_gguf(), "token_embd.weight"))); },
      {"token_embd.weight"});
  expect_refused(
      [&] { load_model(write("c.gguf", with_tensors(small_gguf(), "", "blk.0.attn_rot_embd"))); },
      {"blk.0.attn_rot_embd", "llama alone"});
  expect_refused(
      [&] { load_model(write("d.gguf", with_tensors(small_gguf(), "", "rope_freqs.weight"))); },
      {"rope_freqs.weight", "F32 [2]"});
}

}  // namespace
}  // namespace heddle::model
