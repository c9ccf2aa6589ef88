// Byte-pair tokenizers: what the golden files do not show.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "heddle/base/error.h"
#include "heddle/text/bpe_model.h"
#include "heddle/text/bpe_pattern.h"
#include "heddle/text/bpe_tokenizer.h"
#include "heddle/text/utf8.h"
#include "tests/text/tokenizer_json_builder.h"

namespace heddle::text {
namespace {

using Ids = std::vector<int32_t>;

BpeTokenizer tokenizer_of(const TestTokenizerJson& json) {
  return make_bpe_tokenizer(json.text(), "test.json");
}

BpeTokenizer golden(const std::string& name) {
  return load_bpe_tokenizer(std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" /
                            "bpe" / (name + ".json"));
}

TEST(Bpe, EncodesAndDecodes) {
  const BpeTokenizer tokenizer = tokenizer_of({});
  EXPECT_EQ(tokenizer.encode("abc a\n\xC3\xA9<s>b"), (Ids{5, 6, 7, 11, 12, 1}));
  EXPECT_EQ(tokenizer.decode(Ids{5, 6, 7, 11, 12, 1}),
            "abc a\n\xC3\xA9"
            "b");
  EXPECT_EQ(tokenizer.decode(Ids{12, 5, 13}, false), "<s>abc<e>");
  EXPECT_EQ(tokenizer.size(), 14);
  EXPECT_EQ(tokenizer.piece(6), "Ġa");
  EXPECT_EQ(tokenizer.piece(12), "<s>");
  EXPECT_EQ(tokenizer.id_of("Ġa"), 6);
  EXPECT_EQ(tokenizer.id_of("<e>"), 13);
  EXPECT_EQ(tokenizer.id_of("none"), -1);
  EXPECT_TRUE(tokenizer.is_special(12));
  EXPECT_FALSE(tokenizer.is_special(5));
  EXPECT_TRUE(tokenizer.begins_word(6));
  EXPECT_FALSE(tokenizer.begins_word(5));
  EXPECT_EQ(tokenizer.unk(), -1);
  EXPECT_EQ(tokenizer.encode("xyz"), Ids{});  // no piece, no unknown piece: as the reference
}

TEST(Bpe, RefusesIdsOutsideTheVocabulary) {
  const BpeTokenizer tokenizer = tokenizer_of({});
  for (const int32_t id : {-1, tokenizer.size(), INT32_MAX, INT32_MIN}) {
    EXPECT_THROW(tokenizer.decode(Ids{id}), Error);
    EXPECT_THROW(tokenizer.piece(id), Error);
    EXPECT_THROW(tokenizer.is_special(id), Error);
    EXPECT_THROW(BpeStream(tokenizer).push(id), Error);
  }
}

TEST(Bpe, NamesTokensOfTheConfiguration) {
  const std::string json = TestTokenizerJson().text();
  const BpeTokenizer tokenizer =
      make_bpe_tokenizer(json, "t.json",
                         R"({"bos_token":{"content":"<s>","lstrip":false},"eos_token":"<e>",)"
                         R"("pad_token":null,"chat_template":"x"})",
                         "c.json");
  EXPECT_EQ(tokenizer.bos(), 12);
  EXPECT_EQ(tokenizer.eos(), 13);
  EXPECT_EQ(tokenizer.pad(), -1);
  EXPECT_EQ(make_bpe_tokenizer(json, "t.json").eos(), -1);
  EXPECT_THROW(make_bpe_tokenizer(json, "t.json", R"({"pad_token":"[PAD]"})", "c.json"), Error);
  EXPECT_THROW(make_bpe_tokenizer(json, "t.json", R"({"pad_token":7})", "c.json"), Error);
}

TEST(Bpe, LoadsADirectory) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "heddle_bpe";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "tokenizer.json") << TestTokenizerJson().text();
  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token":"<e>"})";
  EXPECT_EQ(load_bpe_tokenizer(folder).eos(), 13);
  EXPECT_EQ(load_bpe_tokenizer(folder / "tokenizer.json").eos(), 13);
  EXPECT_THROW(load_bpe_tokenizer(folder / "none"), Error);
  std::filesystem::remove_all(folder);
}

TEST(Bpe, ReadsWhatIsNotUtf8AsReplacement) {  // TX-06
  const BpeTokenizer tokenizer = golden("llama3");
  for (const std::string bytes : {"\xC0\xAF", "\xED\xA0\x80", "\xF5\xFE", "\x80", "a\xE2\x82"}) {
    std::string repaired;
    append_repaired(repaired, bytes);
    EXPECT_EQ(tokenizer.encode(bytes), tokenizer.encode(repaired));
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(bytes)), repaired);
  }
}

TEST(Bpe, TakesAnyBytes) {
  std::mt19937 random(11);
  for (const std::string name : {"gpt2", "llama3", "qwen2", "deepseek", "falcon", "gemma"}) {
    const BpeTokenizer tokenizer = golden(name);
    for (int round = 0; round < 200; ++round) {
      std::string text(random() % 60, '\0');
      for (char& c : text)
        c = static_cast<char>(random() % 4 == 0 ? ' ' + random() % 64 : random());
      std::string repaired;
      append_repaired(repaired, text);
      const Ids ids = tokenizer.encode(text);
      if (name != "qwen2" && name != "gemma") {  // those normalise
        ASSERT_EQ(tokenizer.decode(ids, false), repaired);
      }
    }
  }
}

TEST(Bpe, GivesTheSameInManyThreads) {
  const BpeTokenizer tokenizer = golden("qwen2");
  const std::string text = "It's 12345 words, e\xCC\x81 \xE6\x97\xA5\xE6\x9C\xAC <|im_start|>x";
  const Ids expected = tokenizer.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) wrong[t] += tokenizer.encode(text) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(Bpe, NeverEndsAPartInsideACharacter) {
  const BpeTokenizer tokenizer = tokenizer_of({});
  BpeStream stream(tokenizer);
  EXPECT_EQ(stream.push(8), "");  // the first byte of é
  EXPECT_EQ(stream.push(9), "\xC3\xA9");
  EXPECT_EQ(stream.push(8), "");
  EXPECT_EQ(stream.push(0),
            "\xEF\xBF\xBD"
            "a");  // now it is certain that nothing follows
  EXPECT_EQ(stream.push(8), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Bpe, EncodesAMegabyteInOneWord) {  // TX-08
  std::mt19937 random(3);
  std::string word(size_t{1} << 20, 'a');
  for (char& c : word) c = static_cast<char>('a' + random() % 26);
  for (const std::string name : {"gpt2", "llama2"}) {
    const BpeTokenizer tokenizer = golden(name);
    const auto start = std::chrono::steady_clock::now();
    const Ids ids = tokenizer.encode(word);
    EXPECT_EQ(tokenizer.decode(ids), word) << name;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << name;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(std::string(1000000, ' '))).size(), 1000000u);
  }
}

/// Merges one after another by the definition: the lowest rank, the leftmost of those.
Ids merged_plainly(Ids ids, const std::vector<BpeVocabulary::Merge>& merges) {
  for (;;) {
    size_t best = merges.size(), place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      for (size_t rank = 0; rank < best; ++rank) {
        if (merges[rank].left != ids[i] || merges[rank].right != ids[i + 1]) continue;
        best = rank;
        place = i;
      }
    }
    if (best == merges.size()) return ids;
    ids[place] = merges[best].merged;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(place) + 1);
  }
}

TEST(Bpe, MergesAsDefined) {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    BpeVocabulary vocabulary;
    for (char c = 'a'; c < 'e'; ++c) vocabulary.pieces.emplace_back(1, c);
    while (vocabulary.merges.size() < 25) {
      const auto pick = [&] { return random() % vocabulary.pieces.size(); };
      const size_t left = pick(), right = pick();
      const std::string joined = vocabulary.pieces[left] + vocabulary.pieces[right];
      auto found = std::find(vocabulary.pieces.begin(), vocabulary.pieces.end(), joined);
      if (found == vocabulary.pieces.end()) {
        vocabulary.pieces.push_back(joined);
        found = vocabulary.pieces.end() - 1;
      }
      const auto is_pair = [&](const BpeVocabulary::Merge& m) {
        return m.left == static_cast<int32_t>(left) && m.right == static_cast<int32_t>(right);
      };
      if (std::any_of(vocabulary.merges.begin(), vocabulary.merges.end(), is_pair)) continue;
      vocabulary.merges.push_back({static_cast<int32_t>(left), static_cast<int32_t>(right),
                                   static_cast<int32_t>(found - vocabulary.pieces.begin())});
    }
    const auto merges = vocabulary.merges;
    const BpeModel model(std::move(vocabulary));
    BpeScratch scratch;
    for (size_t length = 1; length < 80; ++length) {
      std::string word(length, 'a');
      for (char& c : word) c = static_cast<char>('a' + random() % 4);
      Ids plain, ids;
      for (const char c : word) plain.push_back(c - 'a');
      model.encode(word, ids, scratch);
      ASSERT_EQ(ids, merged_plainly(plain, merges)) << word;
    }
  }
}

TEST(Bpe, RefusesPatternsThatLibrariesReadDifferently) {
  for (const std::string regex :
       {"\\h", "(?m:.)", "(?s).", "[[:punct:]]",  "a{2}+", "a{2}?", "[a--b]", "[[a]-[b]]", "a{,2}",
        "(",   "[",      "\\",    "\\p{Nothing}", "\\p{L", "*",     "(?#x)",  "[]a]",      "\\Ka",
        "\\R", "{",      ""}) {
    EXPECT_THROW(BpePattern::regex(regex, "here"), Error) << regex;
  }
  EXPECT_THROW(BpePattern::regex(std::string(5000, 'a'), "here"), Error);
}

TEST(Bpe, FindsMatches) {
  const auto found = [](const BpePattern& pattern, std::string_view text) {
    std::vector<Span> matches;
    PatternSearch(pattern).find(text, matches);
    return matches;
  };
  using Ranges = std::vector<Span>;
  EXPECT_EQ(found(BpePattern::regex("\\p{L}+|\\s+", "here"), "two words"),
            (Ranges{{0, 3}, {3, 4}, {4, 9}}));
  EXPECT_EQ(found(BpePattern::regex("[^\\s]", "here"), "\xC3\xA9 \xF0\x9F\x98\x80x"),
            (Ranges{{0, 2}, {3, 7}, {7, 8}}));
  EXPECT_EQ(found(BpePattern::regex("\\w+", "here"), "a\xC2\xB2 x\xE2\x80\x8D"),
            (Ranges{{0, 3}, {4, 5}}));
  EXPECT_EQ(found(BpePattern::regex("\\b", "here"), "ab c"),
            (Ranges{{0, 0}, {2, 2}, {3, 3}, {4, 4}}));
  EXPECT_EQ(found(BpePattern::regex("a*", "here"), "baab"), (Ranges{{0, 0}, {1, 3}, {4, 4}}));
  EXPECT_EQ(found(BpePattern::fixed("aa"), "aaaaa"), (Ranges{{0, 2}, {2, 4}}));
  EXPECT_EQ(found(BpePattern(), "a"), Ranges{});
}

}  // namespace
}  // namespace heddle::text
