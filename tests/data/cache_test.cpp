#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "heddle/base/random.h"
#include "heddle/base/threads.h"
#include "heddle/data/token_cache.h"
#include "heddle/io/json.h"
#include "tests/io/files.h"
#include "tests/text/model_builder.h"

namespace heddle {
namespace {

using namespace heddle::testing;

class TokenCacheTest : public FolderTest {
 protected:
  TokenCacheTest() : tokenizer_(text::make_tokenizer(text::small_model().bytes(), "small.spm")) {
    options_.vocabularies = {write("small.spm", text::small_model().bytes())};
  }

  data::TokenCache open(ThreadPool* threads = nullptr) {
    return data::open_token_cache(options_, {tokenizer_, tokenizer_}, path("cache"), threads);
  }

  size_t caches() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator(folder_ / "cache")) {
      ++count;
    }
    return count;
  }

  void use(const std::string& name) {
    data::CorpusFiles files;
    files.pairs = path(name);
    options_.files = {files};
  }

  text::Tokenizer tokenizer_;
  data::CorpusOptions options_;
};

std::string bytes_of(const data::TokenPairs& pairs) {
  std::string text;
  for (uint64_t i = 0; i < pairs.size(); ++i) {
    for (const auto ids : {pairs.source(i), pairs.target(i)}) {
      for (const int32_t id : ids) text += std::to_string(id) + " ";
      text += "| ";
    }
    text += std::to_string(pairs.weight(i)) + "\n";
  }
  return text;
}

TEST_F(TokenCacheTest, HoldsWhatTheTokeniserGives) {
  write("a.tsv", "the cat\tthe mat\n\nHello world\ta cat\n");
  use("a.tsv");
  const data::TokenCache cache = open();
  ASSERT_EQ(cache.pairs().size(), 2u);
  const auto source = cache.pairs().source(1);
  EXPECT_EQ(std::vector(source.begin(), source.end()), tokenizer_.encode("Hello world"));
  const auto target = cache.pairs().target(0);
  EXPECT_EQ(std::vector(target.begin(), target.end()), tokenizer_.encode("the mat"));
  EXPECT_EQ(cache.counts().lines, 3u);
  EXPECT_EQ(cache.counts().kept, 2u);
  EXPECT_EQ(cache.counts().empty_both, 1u);
}

TEST_F(TokenCacheTest, TheKeyCoversAllThatTheContentDependsOn) {
  write("a.tsv", "the cat\tthe mat\n");
  use("a.tsv");
  const uint64_t first = data::cache_key(options_).value;
  const auto differs = [&](auto change) {
    data::CorpusOptions other = options_;
    change(other);
    return data::cache_key(other).value != first;
  };
  EXPECT_EQ(data::cache_key(options_).value, first);
  EXPECT_TRUE(differs([](auto& o) { o.max_source_tokens = 7; }));
  EXPECT_TRUE(differs([](auto& o) { o.max_target_tokens = 7; }));
  EXPECT_TRUE(differs([](auto& o) { o.longest_line = 7; }));
  EXPECT_TRUE(differs([](auto& o) { o.files[0].source_column = 1, o.files[0].target_column = 0; }));
  EXPECT_TRUE(differs([](auto& o) { o.files[0].weight_column = 1; }));
  EXPECT_TRUE(differs([](auto& o) { o.files.push_back(o.files[0]); }));
  EXPECT_TRUE(differs([&](auto& o) { o.vocabularies[0] = write("other.spm", "x"); }));
  EXPECT_TRUE(differs([](auto& o) { o.vocabularies.push_back(o.vocabularies[0]); }));
  write("a.tsv", "the cat\tthe cat\n");  // the same size
  EXPECT_NE(data::cache_key(options_).value, first);
  // A name is no content.
  write("b.tsv", "the cat\tthe mat\n");
  use("b.tsv");
  EXPECT_EQ(data::cache_key(options_).value, first);
}

TEST_F(TokenCacheTest, IsMadeOnceAndAnewWhenDamaged) {
  write("a.tsv", "the cat\tthe mat\nthe mat\ta cat\n");
  use("a.tsv");
  const std::string content = bytes_of(open().pairs());
  EXPECT_EQ(caches(), 1u);
  const auto file = std::filesystem::directory_iterator(folder_ / "cache")->path();
  const auto made = std::filesystem::last_write_time(file);
  EXPECT_EQ(bytes_of(open().pairs()), content);
  EXPECT_EQ(std::filesystem::last_write_time(file), made);

  const std::string whole = read("cache/" + file.filename().string());
  const uint64_t key = data::cache_key(options_).value;
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    write("damaged.bin", damaged);
    expect_refused([&] { data::TokenCache(path("damaged.bin"), key); }, {"damaged.bin"});
    write("damaged.bin", whole.substr(0, i));
    expect_refused([&] { data::TokenCache(path("damaged.bin"), key); }, {"damaged.bin"});
  }
  write("cache/" + file.filename().string(), whole.substr(0, whole.size() / 2));
  EXPECT_EQ(bytes_of(open().pairs()), content);
  EXPECT_EQ(read("cache/" + file.filename().string()), whole);
}

TEST_F(TokenCacheTest, AnyNumberOfThreadsGivesTheSameBytes) {
  std::string text;
  Random random(3);
  for (int i = 0; i < 10'000; ++i) {
    text += "the cat " + std::to_string(random.next()) + "\ta mat " + std::to_string(i) + "\n";
  }
  write("a.tsv", text);
  use("a.tsv");
  const std::string content = bytes_of(open().pairs());
  std::filesystem::remove_all(folder_ / "cache");
  ThreadPool threads(3);
  EXPECT_EQ(bytes_of(open(&threads).pairs()), content);
}

TEST_F(TokenCacheTest, TX14_PairsStayPairsWithMetacharacters) {
  const std::string nasty[] = {"'; DROP TABLE x;--",
                               "$(rm -rf x) `id` | & > <",
                               "- a: [b, {c: d}]",
                               "%s %n \\ \\n \\t \"",
                               "# comment",
                               "a,b;c",
                               "NULL",
                               "--help",
                               "<s> </s> <unk>",
                               "\xC2\xA0\xE2\x80\x8B x"};
  std::string source, target, table, jsonl;
  Random random(5);
  constexpr int kLines = 20'000;
  for (int i = 0; i < kLines; ++i) {
    const std::string a = nasty[random.below(10)] + " " + std::to_string(i);
    const std::string b = nasty[random.below(10)] + " " + std::to_string(i);
    source += a + "\n";
    target += b + "\n";
    table += a + "\t" + b + "\n";
    jsonl += io::to_json(io::Value(io::Value::Map{{"source", a}, {"target", b}})) + "\n";
  }
  data::CorpusFiles two;
  two.source = write("a.en", source);
  two.target = write("a.de", target);
  options_.files = {two};
  const std::string expected = bytes_of(open().pairs());
  write("a.tsv", table);
  use("a.tsv");
  EXPECT_EQ(bytes_of(open().pairs()), expected);
  EXPECT_EQ(bytes_of(open().pairs()), expected);  // mapped again
  write("a.jsonl", jsonl);
  use("a.jsonl");
  EXPECT_EQ(bytes_of(open().pairs()), expected);
  const data::TokenCache cache = open();
  ASSERT_EQ(cache.pairs().size(), uint64_t{kLines});
  for (uint64_t i = 0; i < kLines; ++i) {
    const std::string number = std::to_string(i);
    EXPECT_TRUE(tokenizer_.decode(cache.pairs().source(i)).ends_with(" " + number));
    EXPECT_TRUE(tokenizer_.decode(cache.pairs().target(i)).ends_with(" " + number));
  }
}

TEST_F(TokenCacheTest, TX21_NothingLeft) {
  write("a.tsv", "the cat sat on the mat\ta\nthe cat sat on the mat\tb\n");
  use("a.tsv");
  options_.max_source_tokens = 3;
  expect_refused([&] { open(); }, {"no pair is left", "2 lines", "too many tokens", "at most 3"});
  EXPECT_EQ(caches(), 0u);
  write("a.tsv", "");
  expect_refused([&] { open(); }, {"no pair is left", "0 lines"});
}

TEST_F(TokenCacheTest, WeightsAreKept) {
  write("a.tsv", "the cat\tthe mat\t0.25\na\ta\t1\na\tthe\t4\n");
  use("a.tsv");
  options_.files[0].weight_column = 2;
  const data::TokenCache cache = open();
  EXPECT_EQ(cache.pairs().weight(0), 0.25F);
  EXPECT_EQ(cache.pairs().weight(2), 4.0F);
}

}  // namespace
}  // namespace heddle
