// Every format gives back what was written to it, to the bit where it can hold it.
#include "heddle/model/formats/formats.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "heddle/base/timer.h"
#include "heddle/io/json.h"
#include "heddle/io/npz.h"
#include "heddle/io/safetensors.h"
#include "tests/io/files.h"
#include "tests/model/made_models.h"

namespace heddle::model {
namespace {

using heddle::testing::expect_refused;
using testing::expect_same;
using testing::made_model;
using testing::same_bits;
using testing::small_config;

class Formats : public heddle::testing::FolderTest {
 protected:
  ModelFiles round_trip(const ModelFiles& model) {
    save_model(model, path("model"));
    return load_model(path("model"));
  }
};

TEST_F(Formats, OursKeepsEveryArchitecture) {
  std::vector<TransformerConfig> configs(6, small_config());
  configs[1].decoder_kind = DecoderKind::ssru;
  configs[2].preprocess = "n";
  configs[2].postprocess = "da";
  configs[2].postprocess_top = "n";
  configs[2].ties = Ties::none;
  configs[3].gated = true;
  configs[3].norm = Norm::rms_norm;
  configs[3].norm_bias = configs[3].attention_bias = configs[3].ffn_bias = false;
  configs[3].ties = Ties::source_target;
  configs[4].positions = Positions::learned;
  configs[4].max_positions = 20;
  configs[4].ties = Ties::target_output;
  configs[4].target_vocabulary = 15;
  configs[5].positions = Positions::rotary;
  configs[5].output_bias = false;
  for (const TransformerConfig& config : configs) {
    const ModelFiles model = made_model(config);
    expect_same(model, round_trip(model));
    EXPECT_EQ(recognise(path("model")), Format::heddle);
    for (const DType type : {DType::i8, DType::f16, DType::bf16}) {
      const ModelFiles smaller = quantised(model, type);
      expect_same(smaller, round_trip(smaller));
    }
  }
}

TEST_F(Formats, OursKeepsStepsAndOtherFiles) {
  ModelFiles model = quantised(made_model(small_config()), DType::i8);
  model.parameters.find("model.shared.weight")->input_scale = 0.11391568f;
  model.source_vocabulary = write("s.spm", "source");
  model.target_vocabulary = write("t.spm", "target");
  model.source_pieces = model.target_pieces = write("list.json", "[\"</s>\", \"<unk>\", \"a\"]");
  model.shortlist = write("lex.bin", "words");
  const ModelFiles loaded = round_trip(model);
  expect_same(model, loaded);
  EXPECT_EQ(read("model/source.spm"), "source");
  EXPECT_EQ(loaded.target_vocabulary, path("model/target.spm"));
  EXPECT_EQ(loaded.shortlist, path("model/shortlist.bin"));
  EXPECT_EQ(loaded.source_pieces, path("model/vocab.json"));
  EXPECT_EQ(*io::parse_json(read("model/vocab.json"), "v").find("a")->integer(), 2);
  save_model(loaded, path("model"));  // onto itself
  expect_same(model, load_model(path("model")));
}

TEST_F(Formats, QuantisedStaysWithinHalfAStep) {
  const ModelFiles model = made_model(small_config());
  const ModelFiles small = quantised(model, DType::i8);
  for (const auto& [name, parameter] : model.parameters) {
    const Parameter& q = *small.parameters.find(name);
    const Tensor back = to_f32(q);
    if (parameter.values.rank() == 1) {
      EXPECT_TRUE(same_bits(parameter.values, q.values)) << name;
      continue;
    }
    const int64_t columns = parameter.values.dim(1);
    for (int64_t i = 0; i < back.elements(); ++i) {
      const float step = q.scales.data<float>()[i / columns];
      EXPECT_LE(std::abs(back.data<float>()[i] - parameter.values.data<float>()[i]),
                0.5001f * step);
    }
  }
  ModelFiles bad = made_model(small_config());
  bad.parameters.find("model.shared.weight")->values.data<float>()[3] = std::nanf("");
  EXPECT_THROW(quantised(bad, DType::i8), Error);
}

TEST_F(Formats, MarianRoundTrip) {
  std::vector<TransformerConfig> configs(4, small_config());
  configs[1].decoder_kind = DecoderKind::ssru;
  configs[1].decoder.ffn_width = 10;
  configs[2].preprocess = "n";
  configs[2].postprocess = "da";
  configs[2].postprocess_top = "n";
  configs[2].ties = Ties::target_output;
  configs[2].target_vocabulary = 9;
  configs[3].positions = Positions::learned;
  configs[3].scale_embedding = false;
  configs[3].max_positions = 20;
  configs[3].postprocess_embedding = "nd";
  configs[3].ties = Ties::none;
  for (const TransformerConfig& config : configs) {
    ModelFiles model = made_model(config);
    if (config.positions == Positions::learned) {  // Marian has one table for both sides
      model.parameters.find("model.decoder.embed_positions.weight")->values =
          model.parameters.find("model.encoder.embed_positions.weight")->values;
    }
    save_marian(model, path("marian"));
    EXPECT_EQ(recognise(path("marian")), Format::marian_npz);
    expect_same(model, load_model(path("marian")));

    // The same tensors in Marian's other file.
    const io::NpzFile npz(io::Source(path("marian/model.npz")));
    std::vector<io::NamedTensor> tensors;
    for (const io::NpzMember& member : npz.members()) {
      tensors.push_back({member.name, npz.read(member)});
    }
    std::filesystem::create_directories(path("binary"));
    io::write_marian_binary(path("binary/model.bin"), tensors);
    EXPECT_EQ(recognise(path("binary")), Format::marian_binary);
    expect_same(model, load_model(path("binary/model.bin")));
  }
}

/// The directory that Hugging Face's save_pretrained makes.
void make_huggingface(const std::string& folder, const ModelFiles& model) {
  std::filesystem::create_directories(folder);
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, parameter] : model.parameters) tensors.emplace(name, parameter.values);
  const Tensor bias = tensors.at("final_logits_bias");
  tensors["final_logits_bias"] = bias.reshape({1, bias.elements()});
  tensors["model.encoder.embed_tokens.weight"] = tensors.at("model.shared.weight");
  tensors["lm_head.weight"] = tensors.at("model.shared.weight");
  tensors["model.encoder.embed_positions.weight"] = Tensor::zeros({30, 8}, DType::f32);
  io::write_safetensors(folder + "/model.safetensors", tensors);
  std::ofstream(folder + "/config.json") << R"({"architectures": ["MarianMTModel"],
    "model_type": "marian", "d_model": 8, "vocab_size": 12, "encoder_layers": 2,
    "encoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_layers": 1,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 12, "activation_function": "swish",
    "scale_embedding": true, "static_position_embeddings": true, "eos_token_id": 0,
    "pad_token_id": 11, "decoder_start_token_id": 11, "max_position_embeddings": 30,
    "torch_dtype": "float32", "bad_words_ids": [[11]]})";
}

TEST_F(Formats, HuggingFaceRoundTrip) {
  TransformerConfig config = small_config();
  config.positions = Positions::sinusoidal;
  const ModelFiles model = made_model(config);
  make_huggingface(path("hf"), model);
  EXPECT_EQ(recognise(path("hf")), Format::huggingface);
  const ModelFiles loaded = load_model(path("hf"));
  EXPECT_EQ(loaded.config.decoder_start, 11);
  EXPECT_EQ(loaded.config.activation, ActivationKind::silu);
  EXPECT_EQ(loaded.config.max_positions, 30);
  for (const auto& [name, parameter] : model.parameters) {
    EXPECT_TRUE(same_bits(parameter.values, loaded.parameters.find(name)->values)) << name;
  }
  save_model(loaded, path("again"));
  expect_same(loaded, load_model(path("again")));
}

TEST_F(Formats, TiedCopiesMustAgree) {
  const ModelFiles model = made_model(small_config());
  make_huggingface(path("hf"), model);
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, parameter] : model.parameters) tensors.emplace(name, parameter.values);
  tensors["lm_head.weight"] = Tensor::zeros({12, 8}, DType::f32);
  io::write_safetensors(path("hf/model.safetensors"), tensors);
  expect_refused([&] { load_model(path("hf")); }, {"lm_head.weight", "differ"});
}

TEST_F(Formats, ST42TypeOfTheSameSize) {
  save_model(made_model(small_config()), path("model"));
  std::string bytes = read("model/model.safetensors");
  bytes.replace(bytes.find("F32"), 3, "I32");
  write("model/model.safetensors", bytes);
  expect_refused([&] { load_model(path("model")); }, {"found i32", "expected f32"});
}

TEST_F(Formats, ScalesAreChecked) {
  const ModelFiles model = quantised(made_model(small_config()), DType::i8);
  const auto refused = [&](const std::string& name, const Tensor& tensor, const char* part) {
    save_model(model, path("model"));
    const io::SafetensorsModel files(path("model/model.safetensors"));
    std::map<std::string, Tensor> tensors;
    for (const io::TensorEntry& entry : files.files()[0].tensors()) {
      tensors.emplace(entry.name, files.files()[0].read(entry));
    }
    tensors.erase(name);
    if (tensor.defined()) tensors.emplace(name, tensor);
    io::write_safetensors(path("model/model.safetensors"), tensors);
    expect_refused([&] { load_model(path("model")); }, {part, name.c_str()});
  };
  refused("model.shared.weight_scale", Tensor::zeros({12}, DType::f32), "above 0");
  refused("model.shared.weight_scale", Tensor::zeros({11}, DType::f32), "one a row");
  refused("model.shared.weight_scale", Tensor::zeros({12}, DType::f16), "F32");
  refused("model.nothing.weight_scale", Tensor::zeros({1}, DType::f32), "scale of a weight");
  refused("model.shared.weight", Tensor(), "");
}

TEST_F(Formats, PathsThatAreNoModel) {
  expect_refused([&] { load_model(path("nothing")); }, {"nothing"});
  expect_refused([&] { load_model(folder_); }, {"found no model"});
  expect_refused([&] { load_model(write("g.gguf", "GGUF\3\0\0\0 and more")); },
                 {"gguf: ", "version"});
  expect_refused([&] { load_model(write("t.txt", "hello")); }, {"no known format", "5 bytes"});
  expect_refused([&] { load_model(write("e", "")); }, {"no known format"});
  write("py/pytorch_model.bin", "\x80\x02");
  expect_refused([&] { load_model(path("py")); }, {"Python pickle", "safe_serialization"});
  write("w/model.safetensors", std::string("\2\0\0\0\0\0\0\0{}", 10));
  expect_refused([&] { load_model(path("w")); }, {"no config.json"});
}

/// Set HEDDLE_TEST_MODELS to a directory of Bergamot models to run it; a reference.npz in one of
/// them holds the same weights as float32.
TEST_F(Formats, RealModels) {
  const char* models = std::getenv("HEDDLE_TEST_MODELS");
  if (models == nullptr) GTEST_SKIP() << "HEDDLE_TEST_MODELS is not set";
  for (const auto& entry : std::filesystem::directory_iterator(models)) {
    if (!entry.is_directory()) continue;
    const Timer timer;
    const ModelFiles model = load_model(entry.path());
    RecordProperty("milliseconds", static_cast<int>(timer.seconds() * 1000));
    EXPECT_FALSE(model.source_vocabulary.empty());
    expect_same(model, round_trip(model));
    const std::string reference = entry.path() / "reference.npz";
    if (!std::filesystem::exists(reference)) continue;
    const ModelFiles floats = load_model(reference);
    EXPECT_EQ(model.config, floats.config);
    for (const auto& [name, parameter] : model.parameters) {
      const Tensor a = to_f32(parameter), b = floats.parameters.find(name)->values;
      ASSERT_EQ(a.shape(), b.shape()) << name;
      for (int64_t i = 0; i < a.elements(); ++i) {
        ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 1e-6 * std::abs(b.data<float>()[i]));
      }
    }
  }
}

}  // namespace
}  // namespace heddle::model
