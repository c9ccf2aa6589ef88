// tokenizer.json: the TJ cases, each by its name.
#include <gtest/gtest.h>

#include <chrono>

#include "heddle/base/error.h"
#include "heddle/text/bpe_tokenizer.h"
#include "heddle/text/tokenizer_json.h"
#include "tests/text/tokenizer_json_builder.h"

namespace heddle::text {
namespace {

using Json = TestTokenizerJson;
using Ids = std::vector<int32_t>;

/// What the error says; empty when there is none.
std::string refusal(const std::string& text) {
  try {
    parse_tokenizer_json(text, "test.json");
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

void expect_json_refused(const Json& json, const std::string& part) {
  const std::string found = refusal(json.text());
  EXPECT_NE(found.find("test.json"), std::string::npos) << found;
  EXPECT_NE(found.find(part), std::string::npos) << found;
}

TEST(TokenizerJson, TJ01_NotJson) {
  for (const std::string text : {"", "{", "[]", "1", "null", "{\"a\":1}", "{\"model\":", "\xFF",
                                 "{\"model\":{}}", "{\"model\":null}", "{\"model\":{\"a\":NaN}}"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  const std::string whole = Json().text();
  EXPECT_EQ(refusal(whole), "");
  for (size_t length = 0; length < whole.size(); ++length) {
    ASSERT_NE(refusal(whole.substr(0, length)), "") << length;
  }
}

TEST(TokenizerJson, TJ02_MergeOutsideTheVocabulary) {
  expect_json_refused({.merges = R"(["a b","b c"])"}, "merges[1]: found the piece 'bc'");
  expect_json_refused({.merges = R"(["a x"])"}, "'x'");
  for (const std::string merge : {"\"ab\"", "\"a b c\"", "\" \"", "7", "null", "[\"a\"]",
                                  "[\"a\",7]", "[\"a\",\"b\",\"c\"]"}) {
    expect_json_refused({.merges = "[" + merge + "]"}, "merges[0]");
  }
  expect_json_refused({.merges = "{}"}, "a list");
}

TEST(TokenizerJson, TJ03_PrefixesAndSuffixesOfPieces) {
  expect_json_refused({.options = R"("type":"BPE","continuing_subword_prefix":"##")"}, "'##'");
  expect_json_refused({.options = R"("type":"BPE","end_of_word_suffix":"</w>")"}, "'</w>'");
  EXPECT_EQ(refusal(Json{.options = R"("end_of_word_suffix":"","unk_token":null)"}.text()), "");
}

TEST(TokenizerJson, TJ04_Ids) {
  for (const std::string id : {"2147483647", "9007199254740992", "-1", "1.5", "\"1\"", "null",
                               "1e2", "99999", "18446744073709551616"}) {
    const Json json{.vocab = "{\"a\":0,\"b\":" + id + "}", .merges = "[]"};
    expect_json_refused(json, "vocab: 'b'");
    expect_json_refused({.added = "[{\"id\":" + id + ",\"content\":\"<x>\"}]"}, "added_tokens");
  }
  expect_json_refused({.vocab = R"({"a":0,"b":0})", .merges = "[]"}, "id 0");
  expect_json_refused({.vocab = R"({"a":0,"a":1})", .merges = "[]"}, "twice");
  expect_json_refused({.vocab = "{}", .merges = "[]"}, "pieces");
  expect_json_refused({.vocab = R"({"":0})", .merges = "[]"}, "0 bytes");
  // Holes are ids without a piece, which decode to nothing.
  const BpeTokenizer tokenizer = make_bpe_tokenizer(
      Json{.added = "[]", .vocab = R"({"a":0,"b":5})", .merges = "[]"}.text(), "test.json");
  EXPECT_EQ(tokenizer.size(), 6);
  EXPECT_EQ(tokenizer.decode(Ids{0, 3, 5}), "ab");
}

TEST(TokenizerJson, TJ06_AddedTokens) {
  const auto token = [](int id, const std::string& content, const std::string& more = "") {
    return "{\"id\":" + std::to_string(id) + ",\"content\":\"" + content + "\"" + more + "}";
  };
  expect_json_refused({.added = "[" + token(12, "") + "]"}, "1 to 1024 bytes");
  expect_json_refused({.added = "[" + token(12, std::string(1 << 20, 'x')) + "]"},
                      "1 to 1024 bytes");
  expect_json_refused({.added = "[" + token(12, "x") + "," + token(12, "y") + "]"}, "id 12");
  expect_json_refused({.added = "[" + token(12, "x") + "," + token(13, "x") + "]"}, "'x'");
  expect_json_refused({.added = "[" + token(3, "x") + "]"}, "id 3");
  expect_json_refused({.added = "[" + token(3, "a") + "]"}, "id 3");
  expect_json_refused({.added = "[" + token(12, "x", ",\"future\":1") + "]"}, "'future'");
  expect_json_refused({.added = "{}"}, "a list");
  EXPECT_EQ(refusal(Json{.added = "[" + token(0, "a") + "]"}.text()), "");
  // The leftmost, of those the longest.
  const Json json{.added = "[" + token(12, "xx") + "," + token(13, "xxxy") + "," +
                           token(14, "xxa") + "]"};
  const BpeTokenizer tokenizer = make_bpe_tokenizer(json.text(), "test.json");
  EXPECT_EQ(tokenizer.encode("xxxxy"), (Ids{12, 12}));
  EXPECT_EQ(tokenizer.encode("xxxyxxabx"), (Ids{13, 14, 1}));
  EXPECT_EQ(tokenizer.encode("axxxc"), (Ids{0, 12, 2}));
}

TEST(TokenizerJson, TJ07_RegexThatDoesNotEnd) {
  for (const std::string regex :
       {"(a+)+$", "(a|a)*b", "(?:a*)*b", "(((a{1,9}){1,9}){1,9}){1,9}b"}) {
    const Json json{.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":")" + regex +
                                     R"("},"behavior":"Isolated","invert":false})"};
    const BpeTokenizer tokenizer = make_bpe_tokenizer(json.text(), "test.json");
    const auto start = std::chrono::steady_clock::now();
    EXPECT_THROW(tokenizer.encode(std::string(50'000, 'a') + "!"), Error) << regex;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10)) << regex;
    EXPECT_NO_THROW(tokenizer.encode("aaa!"));
  }
}

TEST(TokenizerJson, TJ08_UnknownParts) {
  for (const std::string part :
       {R"({"type":"Lowercase"})", R"({"type":"Future"})",
        R"({"type":"Sequence","normalizers":[{"type":"BertNormalizer"}]})"}) {
    expect_json_refused({.normalizer = part}, "normalizer");
  }
  expect_json_refused({.normalizer = R"({"type":"Future"})"}, "found the type 'Future'");
  expect_json_refused({.normalizer = R"({"type":"NFC","more":1})"}, "'more'");
  expect_json_refused({.normalizer = "[]"}, "an object");
  expect_json_refused({.normalizer = "{}"}, "no field 'type'");
  expect_json_refused({.pre_tokenizer = R"({"type":"UnicodeScripts"})"}, "'UnicodeScripts'");
  expect_json_refused(
      {.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Other"})"},
      "Isolated");
  expect_json_refused(
      {.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":"("},"behavior":"Removed"})"},
      "regular expression");
  expect_json_refused({.decoder = R"({"type":"CTC"})"}, "'CTC'");
  expect_json_refused(
      {.decoder = R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]})"},
      "'ByteFallback'");
  expect_json_refused({.post_processor = R"({"type":"Other"})"}, "'Other'");
  expect_json_refused({.options = R"("type":"Unigram")"}, "'Unigram'");
  expect_json_refused({.options = R"("type":"BPE","dropout":0.1)"}, "dropout");
  expect_json_refused({.options = R"("type":"BPE","unk_token":"?")"}, "unk_token");
  expect_json_refused({.more = R"(,"extra":1)"}, "'extra'");
  expect_json_refused({.more = R"(,"padding":null)"}, "twice");
}

TEST(TokenizerJson, TJ08_TooManyParts) {
  std::string parts, nested = R"({"type":"NFC"})";
  for (int i = 0; i < 65; ++i) parts += std::string(i > 0 ? "," : "") + R"({"type":"NFC"})";
  expect_json_refused({.normalizer = R"({"type":"Sequence","normalizers":[)" + parts + "]}"},
                      "64 steps");
  for (int i = 0; i < 40; ++i) nested = R"({"type":"Sequence","normalizers":[)" + nested + "]}";
  expect_json_refused({.normalizer = nested}, "inside one another");
}

TEST(TokenizerJson, TJ09_Templates) {
  const auto with = [](const std::string& single, const std::string& tokens) {
    return Json{.post_processor = R"({"type":"TemplateProcessing","single":)" + single +
                                  R"(,"pair":[],"special_tokens":)" + tokens + "}"};
  };
  const std::string a = R"({"Sequence":{"id":"A","type_id":0}})";
  const std::string s = R"({"SpecialToken":{"id":"<s>","type_id":0}})";
  const std::string known = R"({"<s>":{"id":"<s>","ids":[12],"tokens":["<s>"]}})";
  expect_json_refused(with("[" + s + "," + a + "]", "{}"), "special_tokens");
  for (const std::string id : {"14", "-1", "99999999999", "\"x\"", "null"}) {
    expect_json_refused(with("[" + s + "," + a + "]", R"({"<s>":{"ids":[)" + id + "]}}"), "ids[0]");
  }
  expect_json_refused(with("[" + s + "]", known), "the text A");
  expect_json_refused(with("[" + a + "," + a + "]", known), "once");
  expect_json_refused(with(R"([{"Sequence":{"id":"B"}}])", known), "the text A");
  const Json good = with("[" + s + "," + a + "," + s + "]", known);
  const BpeTokenizer tokenizer = make_bpe_tokenizer(good.text(), "test.json");
  EXPECT_EQ(tokenizer.encode("abc", {.add_special_tokens = true}), (Ids{12, 5, 12}));
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{5}));
}

TEST(TokenizerJson, TJ10_PrecompiledIsRefused) {
  expect_json_refused({.normalizer = R"({"type":"Precompiled","precompiled_charsmap":"!!"})"},
                      "'Precompiled'");
}

TEST(TokenizerJson, TJ11_OtherModelsAreRefused) {
  for (const std::string type : {"Unigram", "WordPiece", "WordLevel"}) {
    expect_json_refused({.options = "\"type\":\"" + type + "\""}, "expected BPE");
  }
}

TEST(TokenizerJson, TJ12_TooMuch) {
  std::string nested(1'000'000, '[');
  EXPECT_NE(refusal(nested), "");
  EXPECT_NE(refusal("{\"model\":" + nested), "");
  std::string lists = "{\"model\":[";
  for (int i = 0; i < 1'000'000; ++i) lists += "[],";
  EXPECT_NE(refusal(lists + "[]]}"), "");
  EXPECT_NE(refusal(std::string(kMaxTokenizerBytes + 1, ' ')).find("at most"), std::string::npos);
  expect_json_refused(
      {.vocab = "{\"" + std::string(kMaxBpePieceBytes + 1, 'x') + "\":0}", .merges = "[]"},
      "16384");
}

TEST(TokenizerJson, StepsThatMakeTextsLong) {
  std::string replace =
      R"({"type":"Replace","pattern":{"String":"a"},"content":")" + std::string(256, 'a') + "\"}";
  std::string all = replace;
  for (int i = 0; i < 9; ++i) all += "," + replace;
  const Json json{.normalizer = R"({"type":"Sequence","normalizers":[)" + all + "]}",
                  .decoder = R"({"type":"Sequence","decoders":[)" + all + "]}"};
  const BpeTokenizer tokenizer = make_bpe_tokenizer(json.text(), "test.json");
  EXPECT_THROW(tokenizer.encode("aaaa"), Error);
  EXPECT_THROW(tokenizer.decode(Ids{0}), Error);
}

TEST(TokenizerJson, TJA1_VocabularyWithoutSomeBytes) {
  const BpeTokenizer tokenizer = make_bpe_tokenizer(Json().text(), "test.json");
  EXPECT_EQ(tokenizer.encode("a\x0B"
                             "b"),
            (Ids{0, 1}));
  const Json with_unk{.options = R"("type":"BPE","unk_token":"c","fuse_unk":true)"};
  EXPECT_EQ(make_bpe_tokenizer(with_unk.text(), "t").encode("xyab"), (Ids{2, 4}));
}

TEST(TokenizerJson, TJA2_MergesAsTextsAndAsPairs) {
  const Json texts;
  const Json pairs{.merges = R"([["a","b"],["ab","c"],["Ġ","a"],["Ã","©"]])"};
  for (const Json& json : {texts, pairs}) {
    const BpeTokenizer tokenizer = make_bpe_tokenizer(json.text(), "test.json");
    EXPECT_EQ(tokenizer.encode("abc a"), (Ids{5, 6}));
  }
  const Json spaces{.pre_tokenizer = "null",
                    .decoder = "null",
                    .vocab = R"({"a":0," ":1,"a ":2,"a a":3})",
                    .merges = R"([["a"," "],["a ","a"]])"};
  EXPECT_EQ(make_bpe_tokenizer(spaces.text(), "test.json").encode("a a"), (Ids{3}));
}

}  // namespace
}  // namespace heddle::text
