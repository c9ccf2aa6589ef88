// Byte-pair tokenizers against Hugging Face's own library: tests/golden/bpe, which
// tests/golden/make_golden_bpe.py writes.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "heddle/io/json.h"
#include "heddle/text/bpe_tokenizer.h"
#include "heddle/text/utf8.h"

namespace heddle::text {
namespace {

std::string golden_path(const std::string& name) {
  return std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / "bpe" / name;
}

const io::Value& golden_cases() {
  static const io::Value kCases = [] {
    std::ifstream file(golden_path("cases.json"), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return io::parse_json(text, "cases.json", {.memory = size_t{256} << 20});
  }();
  return kCases;
}

std::vector<int32_t> ids_of(const io::Field& list) {
  std::vector<int32_t> ids;
  for (const io::Value& id : *list.value().list()) {
    ids.push_back(static_cast<int32_t>(*id.integer()));
  }
  return ids;
}

/// The ids are those of the file, or as many with the same checksum.
void expect_ids(const std::vector<int32_t>& ids, const io::Field& expected) {
  if (expected.value().list() != nullptr) {
    EXPECT_EQ(ids, ids_of(expected));
    return;
  }
  int64_t sum = 0;
  for (const int32_t id : ids) sum = (sum * 31 + id + 1) % 1'000'000'007;
  EXPECT_EQ(static_cast<int64_t>(ids.size()), expected["count"].integer(0, INT32_MAX));
  EXPECT_EQ(sum, expected["checksum"].integer(0, INT32_MAX));
}

std::string stream_all(const BpeTokenizer& tokenizer, const std::vector<int32_t>& ids,
                       bool skip_special) {
  BpeStream stream(tokenizer, skip_special);
  std::string text;
  for (int round = 0; round < 2; ++round) {  // a stream is at its beginning again
    text.clear();
    for (const int32_t id : ids) {
      const std::string part = stream.push(id);
      EXPECT_TRUE(is_valid_utf8(part));
      text += part;
    }
    text += stream.finish();
  }
  return text;
}

class BpeGolden : public testing::TestWithParam<const char*> {
 protected:
  BpeTokenizer tokenizer_ = load_bpe_tokenizer(golden_path(std::string(GetParam()) + ".json"));
  io::Field all_{golden_cases(), "cases.json"};
  io::Field own_ = all_["tokenizers"][GetParam()];
};

TEST_P(BpeGolden, Texts) {
  const auto texts = all_["texts"].items(), cases = own_["texts"].items();
  ASSERT_EQ(texts.size(), cases.size());
  ASSERT_GE(texts.size(), 80u);
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string& text = texts[i].text();
    SCOPED_TRACE(testing::Message() << "text " << i << ": " << text);
    const std::vector<int32_t> ids = tokenizer_.encode(text);
    expect_ids(ids, cases[i]["ids"]);
    const auto plain = cases[i].find("plain");
    expect_ids(tokenizer_.encode(text, {.allow_special = false}), plain ? *plain : cases[i]["ids"]);
    const std::string decoded = cases[i].text_or("decoded", text);
    EXPECT_EQ(tokenizer_.decode(ids, false), decoded);
    EXPECT_EQ(stream_all(tokenizer_, ids, false), decoded);
  }
}

TEST_P(BpeGolden, LongTexts) {
  const auto texts = all_["long"].items(), cases = own_["long"].items();
  ASSERT_EQ(texts.size(), cases.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto parts = texts[i].items();
    std::string text = parts[0].text();
    for (int64_t n = parts[2].integer(1, 100'000); n > 0; --n) text += parts[1].text();
    SCOPED_TRACE(testing::Message() << "text " << i);
    expect_ids(tokenizer_.encode(text), cases[i]);
  }
}

TEST_P(BpeGolden, AnyIdsDecode) {
  for (const io::Field& item : own_["random"].items()) {
    const std::vector<int32_t> ids = ids_of(item["ids"]);
    EXPECT_EQ(tokenizer_.decode(ids), item["decoded"].text());
    EXPECT_EQ(stream_all(tokenizer_, ids, true), item["decoded"].text());
  }
}

TEST_P(BpeGolden, SpecialTokensAround) {
  EXPECT_EQ(tokenizer_.encode("", {.add_special_tokens = true}), ids_of(own_["around"]));
}

INSTANTIATE_TEST_SUITE_P(All, BpeGolden,
                         testing::Values("gpt2", "llama3", "qwen2", "cl100k", "tekken", "o200k",
                                         "deepseek", "bloom", "starcoder", "falcon", "roberta",
                                         "llama2", "gemma", "mistral", "metaspace", "odd"),
                         [](const auto& kind) { return std::string(kind.param); });

}  // namespace
}  // namespace heddle::text
