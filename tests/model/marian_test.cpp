// Marian models: options, names, the files beside them, and the cases MB-10 and MB-11.
#include "heddle/model/formats/marian.h"

#include <filesystem>
#include <functional>

#include "heddle/io/yaml.h"
#include "heddle/model/formats/formats.h"
#include "tests/io/files.h"
#include "tests/model/made_models.h"

namespace heddle::model {
namespace {

using heddle::testing::bytes_of;
using heddle::testing::expect_refused;

/// Tensors in memory that pass for a file.
class MadeFile : public MarianFile {
 public:
  const std::string& name() const override { return name_; }
  const std::vector<io::MarianTensor>& tensors() const override { return tensors_; }
  Tensor read(const io::MarianTensor& tensor) const override {
    return values_.at(static_cast<size_t>(&tensor - tensors_.data()));
  }

  io::MarianTensor& add(const std::string& name, const Tensor& values,
                        const char* type = "float32") {
    io::MarianTensor tensor;
    tensor.name = name;
    tensor.shape = values.shape();
    tensor.dtype = values.dtype();
    tensor.type = type;
    tensor.bytes = static_cast<uint64_t>(values.elements()) * size_of(values.dtype());
    tensors_.push_back(tensor);
    values_.push_back(values);
    return tensors_.back();
  }

  void add_options(const std::string& text) {
    Tensor tensor = Tensor::empty({static_cast<int64_t>(text.size())}, DType::i8);
    std::memcpy(tensor.raw(), text.data(), text.size());
    add("special:model.yml", tensor, "int8");
  }

 private:
  std::string name_ = "made";
  std::vector<io::MarianTensor> tensors_;
  std::vector<Tensor> values_;
};

const std::string kOptions =
    "type: transformer\ndim-emb: 8\nenc-depth: 1\ndec-depth: 1\ntransformer-heads: 2\n"
    "transformer-dim-ffn: 12\ntransformer-ffn-activation: relu\ntied-embeddings-all: true\n"
    "transformer-decoder-autoreg: rnn\ndec-cell: ssru\n";

TransformerConfig options(const std::string& text) {
  const io::Value value = io::parse_yaml(text, "made");
  return read_marian_options(io::Field(value, "made"));
}

TEST(MarianOptions, ReadsWhatMarianSays) {
  const TransformerConfig config = options(kOptions);
  EXPECT_EQ(config.decoder_kind, DecoderKind::ssru);
  EXPECT_EQ(config.ties, Ties::all);
  EXPECT_EQ(config.activation, ActivationKind::relu);
  EXPECT_EQ(config.positions, Positions::sinusoidal_marian);
  EXPECT_TRUE(config.scale_embedding);
  EXPECT_EQ(config.postprocess, "dan");
  EXPECT_EQ(config.decoder_start, -1);
  EXPECT_EQ(options(kOptions + "transformer-guided-alignment-layer: 1\n").alignment_layer, 0);
  EXPECT_EQ(options(kOptions + "transformer-train-position-embeddings: true\n").positions,
            Positions::learned);
}

TEST(MarianOptions, UnknownArchitecturesAreNamed) {
  const auto refused = [](const std::string& from, const std::string& to, const char* part) {
    std::string text = kOptions;
    const size_t at = text.find(from);
    expect_refused([&] { options(text.replace(at, from.size(), to)); }, {part});
  };
  for (const char* type : {"s2s", "amun", "multi-s2s", "bert", "nematus"}) {
    refused("type: transformer", std::string("type: ") + type, type);
  }
  refused("dec-cell: ssru", "dec-cell: gru", "gru");
  refused("rnn\n", "average-attention\n", "average-attention");
  refused("relu", "tanh", "tanh");
  refused("dim-emb: 8", "dim-emb: -8", "dim-emb");
  refused("dim-emb: 8\n", "", "dim-emb");
  for (const char* line : {"transformer-tied-layers: [1]", "lemma-dim-emb: 8", "right-left: true",
                           "transformer-ffn-depth: 3", "transformer-no-projection: true",
                           "input-types: [class]", "dim-vocabs: [1, 2, 3]"}) {
    const std::string key(line, std::strchr(line, ':'));
    refused("type: t", std::string(line) + "\ntype: t", key.c_str());
  }
}

TEST(MarianTensors, MB10Options) {
  const auto refused = [](const std::string& text, std::initializer_list<const char*> parts) {
    MadeFile file;
    file.add_options(text);
    expect_refused([&] { load_marian_tensors(file); }, parts);
  };
  refused(kOptions, {"special:model.yml", "no NUL"});
  refused(kOptions + std::string("\0x", 2), {"behind its NUL"});
  refused(std::string("a: [\0", 5), {"special:model.yml", "yaml"});
  refused(std::string("a: &a [x]\nb: *a\0", 16), {"an alias"});
  refused(std::string("[]\0", 3), {"an object"});
  refused(std::string(300'000, ' '), {"special:model.yml"});
  MadeFile none;
  expect_refused([&] { load_marian_tensors(none); }, {"special:model.yml"});
}

TEST(MarianTensors, MB11Quantised) {
  const auto refused = [](const std::function<void(MadeFile&)>& change,
                          std::initializer_list<const char*> parts) {
    MadeFile file;
    file.add_options(kOptions + '\0');
    change(file);
    expect_refused([&] { load_marian_tensors(file); }, parts);
  };
  refused(
      [](MadeFile& f) {
        f.add("Wemb", Tensor::zeros({9, 8}, DType::i8), "int8");
      },
      {"'Wemb'", "multiplier"});
  refused([](MadeFile& f) { f.add("Wemb", Tensor::zeros({9, 7}, DType::f32)); }, {"[V, 8]"});
  refused([](MadeFile&) {}, {"'Wemb'"});
  const auto quantised = [](MadeFile& f) {
    io::MarianTensor& table = f.add("Wemb", Tensor::zeros({9, 8}, DType::i8), "intgemm8");
    table.is_intgemm8 = true;
    table.multiplier = 100;
  };
  refused(
      [&](MadeFile& f) {
        quantised(f);
        f.add("none_QuantMultA", Tensor::zeros({1, 1}, DType::f32));
      },
      {"none_QuantMultA", "above 0"});
  refused(
      [&](MadeFile& f) {
        quantised(f);
        f.add("none_QuantMultA", Tensor::zeros({1, 2}, DType::f32));
      },
      {"none_QuantMultA", "one float32"});
  refused([&](MadeFile& f) { quantised(f); }, {"decoder_ff_logit_out_b"});
}

class MarianFolderTest : public heddle::testing::FolderTest {
 protected:
  void save(const std::string& folder) {
    ModelFiles model = testing::made_model(testing::small_config());
    model.source_vocabulary = write("v.spm", "pieces");
    model.target_vocabulary = model.source_vocabulary;
    save_marian(model, path(folder));
  }
};

TEST_F(MarianFolderTest, FindsTheFilesBeside) {
  save("m");
  EXPECT_EQ(load_model(path("m")).source_vocabulary, path("m/source.spm"));
  EXPECT_EQ(load_model(path("m/model.npz")).target_vocabulary, path("m/source.spm"));
  EXPECT_EQ(load_model(path("m/decoder.yml")).source_vocabulary, path("m/source.spm"));
  std::filesystem::remove(path("m/decoder.yml"));
  EXPECT_EQ(load_model(path("m")).source_vocabulary, path("m/source.spm"));
  write("m/model.npz.optimizer.npz", read("m/model.npz"));  // NZ-A1
  EXPECT_EQ(load_model(path("m")).config.width, 8);
  write("m/other.npz", read("m/model.npz"));
  expect_refused([&] { load_model(path("m")); }, {"'model.npz', 'other.npz'", "Hint"});
}

TEST_F(MarianFolderTest, YamlVocabulariesNumberThePieces) {
  save("m");
  write("m/opus.vocab.yml", "</s>: 0\n");
  write("m/target.spm", "pieces");
  write("m/decoder.yml", "models: [model.npz]\nvocabs: [opus.vocab.yml, opus.vocab.yml]\n");
  const ModelFiles model = load_model(path("m"));
  EXPECT_EQ(model.source_vocabulary, path("m/source.spm"));
  EXPECT_EQ(model.target_vocabulary, path("m/target.spm"));
  EXPECT_EQ(model.source_pieces, path("m/opus.vocab.yml"));
}

TEST_F(MarianFolderTest, ConfigsThatLie) {
  save("m");
  const auto refused = [&](const std::string& text, std::initializer_list<const char*> parts) {
    write("m/decoder.yml", text);
    expect_refused([&] { load_model(path("m")); }, parts);
  };
  refused("relative-paths: true\nmodels: [../m/model.npz]\n", {"models", "below the folder"});
  refused("relative-paths: true\nmodels: [/etc/passwd]\n", {"models"});
  refused("models: [a.npz, b.npz]\n", {"models", "one model"});
  refused("models: []\n", {"models"});
  refused("models: [none.npz]\n", {"none.npz"});
  refused("models: [model.npz]\nvocabs: [a.spm]\n", {"vocabs"});
  refused("models: [model.npz]\nvocabs: [a.spm, a.spm]\n", {"a.spm", "source vocabulary"});
  refused("models: [model.npz]\nshortlist: [lex.bin]\n", {"lex.bin", "shortlist"});
  refused("models: [model.npz\n", {"decoder.yml"});
}

}  // namespace
}  // namespace heddle::model
