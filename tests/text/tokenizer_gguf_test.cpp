// Tokenizers of GGUF files: the metadata says what a tokenizer.json says, and cuts texts alike.
#include "heddle/text/tokenizer_gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "heddle/io/json.h"
#include "tests/io/gguf_bytes.h"

namespace heddle::text {
namespace {

using heddle::testing::bytes_of;
using heddle::testing::expect_refused;
namespace gguf = heddle::testing::gguf;

/// The metadata of a tokenizer, to be written as a file.
struct Metadata {
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  std::vector<float> scores;
  std::string model = "llama", pre;
  std::vector<std::string> others;

  std::string bytes() const {
    std::vector<std::string> pairs = others;
    const auto texts = [](const std::vector<std::string>& list) {
      std::string all;
      for (const std::string& each : list) all += gguf::text(each);
      return gguf::array(gguf::kString, list.size(), all);
    };
    const auto numbers = [](uint32_t type, const auto& list) {
      std::string all;
      for (const auto each : list) all += bytes_of(each);
      return gguf::array(type, list.size(), all);
    };
    pairs.push_back(gguf::pair("tokenizer.ggml.model", gguf::kString, gguf::text(model)));
    pairs.push_back(gguf::pair("tokenizer.ggml.tokens", gguf::kArray, texts(tokens)));
    pairs.push_back(
        gguf::pair("tokenizer.ggml.token_type", gguf::kArray, numbers(gguf::kI32, types)));
    if (model == "gpt2") {
      pairs.push_back(gguf::pair("tokenizer.ggml.pre", gguf::kString, gguf::text(pre)));
      pairs.push_back(gguf::pair("tokenizer.ggml.merges", gguf::kArray, texts(merges)));
    } else {
      pairs.push_back(
          gguf::pair("tokenizer.ggml.scores", gguf::kArray, numbers(gguf::kF32, scores)));
    }
    return gguf::file(pairs);
  }

  void set(const std::string& key, uint32_t id) {
    others.push_back(gguf::pair("tokenizer.ggml." + key, gguf::kU32, bytes_of(id)));
  }
  void set(const std::string& key, bool value) {
    others.push_back(
        gguf::pair("tokenizer.ggml." + key, gguf::kBool, bytes_of(static_cast<uint8_t>(value))));
  }

  BpeTokenizer tokenizer() const {
    const std::string file = bytes();
    const GgufTokenizer files = read_gguf_tokenizer(io::GgufFile(heddle::testing::source_of(file)));
    return make_bpe_tokenizer(files.json, "tokenizer.json", files.config, "tokenizer_config.json");
  }
};

std::string golden_text(const std::string& name) {
  return io::read_text(
      std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / "bpe" / name, 64 << 20);
}

/// The metadata that llama.cpp's converter makes of a byte-level tokenizer.json.
Metadata of_json(const std::string& name, const std::string& pre) {
  const io::Value value = io::parse_json(golden_text(name), name);
  const io::Field json(value, name);
  Metadata made;
  made.model = "gpt2";
  made.pre = pre;
  const auto put = [&](const std::string& text, int64_t id, int32_t type) {
    const auto at = static_cast<size_t>(id);
    if (made.tokens.size() <= at) {
      made.tokens.resize(at + 1);
      made.types.resize(at + 1, 5);
    }
    made.tokens[at] = text;
    made.types[at] = type;
  };
  for (const io::Value::Member& member : json["model"]["vocab"].members()) {
    put(member.key, *member.value.integer(), 1);
  }
  for (const io::Field& token : json["added_tokens"].items()) {
    put(token["content"].text(), token["id"].integer(0, 1 << 20),
        token["special"].boolean() ? 3 : 4);
  }
  for (const io::Field& merge : json["model"]["merges"].items()) {
    if (merge.value().text() != nullptr) {
      made.merges.push_back(merge.text());
    } else {
      const auto both = merge.items();
      made.merges.push_back(both[0].text() + " " + both[1].text());
    }
  }
  return made;
}

const std::vector<std::string>& texts() {
  static const std::vector<std::string> all{"The disk is full.",
                                            "  two  spaces\n\n\nand lines\t\ttabs ",
                                            "It's 2024, isn't it? 1234567 x=y;",
                                            "Ünïcode – 東京 привет 🙂🙂",
                                            "<|begin_of_text|>hello<|end_of_text|>",
                                            ""};
  return all;
}

TEST(GgufTokenizer, BytesAreCutAsByTheJson) {
  for (const auto& [name, pre] : std::map<std::string, std::string>{
           {"gpt2.json", "gpt-2"}, {"llama3.json", "llama-bpe"}, {"qwen2.json", "qwen2"}}) {
    SCOPED_TRACE(name);
    const BpeTokenizer expected = make_bpe_tokenizer(golden_text(name), name);
    const BpeTokenizer found = of_json(name, pre).tokenizer();
    EXPECT_EQ(found.size(), expected.size());
    for (const std::string& text : texts()) {
      EXPECT_EQ(found.encode(text), expected.encode(text)) << text;
      EXPECT_EQ(found.decode(found.encode(text), false),
                expected.decode(expected.encode(text), false));
    }
  }
}

/// A SentencePiece model of few pieces: scores fall in the order of the list.
Metadata scored(const std::vector<std::string>& pieces) {
  Metadata made;
  const auto put = [&](const std::string& text, float score, int32_t type) {
    made.tokens.push_back(text);
    made.scores.push_back(score);
    made.types.push_back(type);
  };
  put("<unk>", 0, 2);
  put("<s>", 0, 3);
  put("</s>", 0, 3);
  for (int i = 0; i < 256; ++i) {
    constexpr char kHex[] = "0123456789ABCDEF";
    put(std::string("<0x") + kHex[i / 16] + kHex[i % 16] + ">", 0, 6);
  }
  for (const std::string& piece : pieces) put(piece, -static_cast<float>(made.tokens.size()), 1);
  put("<turn>", -1000, 4);
  put("   ", -1000, 4);  // as files have it; in normed text it is ▁▁▁
  made.set("unknown_token_id", 0u);
  made.set("bos_token_id", 1u);
  made.set("eos_token_id", 2u);
  return made;
}

std::vector<std::string> cut(const BpeTokenizer& tokenizer, const std::string& text,
                             bool special = false) {
  std::vector<std::string> pieces;
  for (const int32_t id : tokenizer.encode(text, {.add_special_tokens = special})) {
    pieces.emplace_back(tokenizer.piece(id));
  }
  return pieces;
}

TEST(GgufTokenizer, ScoresAreRanks) {
  using Pieces = std::vector<std::string>;
  Metadata model = scored({"ab", "abc", "bc", "▁abc", "a", "b", "c", "▁", "▁a", "d"});
  const BpeTokenizer tokenizer = model.tokenizer();
  EXPECT_EQ(cut(tokenizer, "abc"), (Pieces{"▁abc"}));
  EXPECT_EQ(cut(tokenizer, "abc", true), (Pieces{"<s>", "▁abc"}));
  EXPECT_EQ(cut(tokenizer, "dabcbc ab"), (Pieces{"▁", "d", "abc", "bc", "▁", "ab"}));
  EXPECT_EQ(cut(tokenizer, "d<turn>é"), (Pieces{"▁", "d", "<turn>", "▁", "<0xC3>", "<0xA9>"}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("dab abc é")), "dab abc é");
  EXPECT_EQ(tokenizer.eos(), 2);
  model.set("add_space_prefix", false);
  model.set("add_bos_token", false);
  const BpeTokenizer plain = model.tokenizer();
  EXPECT_EQ(cut(plain, "abc d", true), (Pieces{"abc", "▁", "d"}));
  EXPECT_EQ(plain.decode(plain.encode(" abc")), " abc");
  EXPECT_EQ(cut(plain, "d   ab"), (Pieces{"d", "▁▁▁", "ab"}));
  EXPECT_EQ(cut(plain, "d ▁ ab"), cut(plain, "d   ab"));
  EXPECT_EQ(plain.decode(plain.encode("d   ab")), "d   ab");
}

TEST(GgufTokenizer, RefusesWhatDoesNotFit) {
  const auto refused = [](const auto& change, std::initializer_list<const char*> parts) {
    Metadata model = scored({"a", "b"});
    change(model);
    expect_refused([&] { model.tokenizer(); }, parts);
  };
  refused([](Metadata& m) { m.scores.pop_back(); }, {"tokenizer.ggml.scores", "expected"});
  refused([](Metadata& m) { m.types.pop_back(); }, {"tokenizer.ggml.token_type", "expected"});
  refused([](Metadata& m) { m.scores[3] = NAN; }, {"score"});
  refused([](Metadata& m) { m.tokens[4] = m.tokens[5]; }, {"once"});
  refused([](Metadata& m) { m.types[3] = 7; }, {"type 7"});
  for (const char* byte : {"<0x-1>", "<0xZZ>", "<0x"}) {  // GG-41
    refused([&](Metadata& m) { m.tokens[3] = byte; }, {"<0x00> … <0xFF>"});
  }
  refused([](Metadata& m) { m.model = "bert"; }, {"bert", "gpt2"});
  refused(
      [](Metadata& m) {
        m.model = "gpt2";
        m.pre = "viking";
      },
      {"tokenizer.ggml.pre", "viking", "qwen2"});
  refused(
      [](Metadata& m) {
        m.others.clear();
        m.set("bos_token_id", 100000u);
      },
      {"bos_token_id"});
}

}  // namespace
}  // namespace heddle::text
