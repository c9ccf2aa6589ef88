// The cache of tokenised conversations, from files on disk to packed rows.
#include <gtest/gtest.h>
#include <zstd.h>

#include <filesystem>

#include "heddle/data/example_cache.h"
#include "heddle/data/row_packer.h"
#include "tests/io/files.h"

namespace heddle {
namespace {

using namespace heddle::testing;

class ExampleCacheTest : public FolderTest {
 protected:
  ExampleCacheTest()
      : vocabulary_(std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / "bpe" /
                    "qwen2.json"),
        tokenizer_(text::load_bpe_tokenizer(vocabulary_)) {
    options_.vocabularies = {vocabulary_};
    options_.chat_template = "chatml";
  }

  data::ExampleCache open(ThreadPool* threads = nullptr) {
    const auto chatml = data::render_turns(text::ChatTemplate::named("chatml"), tokenizer_);
    return data::open_example_cache(options_, tokenizer_, chatml, path("cache"), threads);
  }

  void use(const std::string& name, const std::string& content) {
    options_.files = {write(name, content)};
  }

  std::string vocabulary_;
  text::BpeTokenizer tokenizer_;
  data::DatasetOptions options_;
};

const std::string kTwoChats =
    R"({"messages":[{"role":"user","content":"the cat"},{"role":"assistant","content":"sat"}]})"
    "\n"
    R"({"messages":[{"role":"user","content":"where?"},{"role":"assistant","content":"mat"}]})"
    "\n";

std::vector<int32_t> stored_tokens(const data::ExampleCache& cache) {
  const auto examples = cache.examples();
  return {examples.tokens.begin(), examples.tokens.end()};
}

TEST_F(ExampleCacheTest, HoldsWhatTheTemplateGives) {
  use("a.jsonl", kTwoChats + "\n");
  const data::ExampleCache cache = open();
  ASSERT_EQ(cache.examples().size(), 2u);
  EXPECT_EQ(cache.counts().lines, 3u);
  EXPECT_EQ(cache.counts().kept, 2u);
  EXPECT_EQ(cache.counts().blank_lines, 1u);
  std::vector<int32_t> ids, learned;
  for (const int32_t stored : cache.examples().example(1)) {
    ids.push_back(data::token_of(stored));
    if (data::is_learned(stored)) learned.push_back(ids.back());
  }
  EXPECT_EQ(ids, tokenizer_.encode("<|im_start|>user\nwhere?<|im_end|>\n<|im_start|>assistant\n"
                                   "mat<|im_end|>\n"));
  EXPECT_EQ(learned, tokenizer_.encode("mat<|im_end|>"));
  data::RowPacker packer(cache.examples(), {.packing_length = 128});
  data::PackedRow row;
  ASSERT_TRUE(packer.next(row));
  EXPECT_EQ(row.documents(), 2);
  EXPECT_EQ(static_cast<uint64_t>(row.learned), cache.counts().tokens.learned);
  EXPECT_EQ(row.tokens.size(), cache.counts().tokens.tokens);
}

TEST_F(ExampleCacheTest, TheKeyCoversAllThatTheContentDependsOn) {
  use("a.jsonl", kTwoChats);
  const uint64_t first = data::example_cache_key(options_).value;
  const auto differs = [&](auto change) {
    data::DatasetOptions other = options_;
    change(other);
    return data::example_cache_key(other).value != first;
  };
  EXPECT_FALSE(differs([](auto&) {}));
  EXPECT_TRUE(differs([](auto& o) { o.reading.format = data::DatasetFormat::messages; }));
  EXPECT_TRUE(differs([](auto& o) { o.reading.on_bad_line = data::OnBadLine::skip; }));
  EXPECT_TRUE(differs([](auto& o) { o.reading.longest_line = 7; }));
  EXPECT_TRUE(differs([](auto& o) { o.tokens.train_on = data::TrainOn::all; }));
  EXPECT_TRUE(differs([](auto& o) { o.tokens.train_on_eos = data::TrainOnEos::all; }));
  EXPECT_TRUE(differs([](auto& o) { o.tokens.max_length = 7; }));
  EXPECT_TRUE(
      differs([](auto& o) { o.tokens.excess_length_strategy = data::ExcessLength::truncate; }));
  EXPECT_TRUE(differs([](auto& o) { o.tokens.split_special_tokens = false; }));
  EXPECT_TRUE(differs([](auto& o) { o.chat_template = "llama3"; }));
  EXPECT_TRUE(differs([](auto& o) { o.vocabularies.clear(); }));
  EXPECT_TRUE(differs([](auto& o) { o.files.push_back(o.files[0]); }));
  std::string other = kTwoChats;
  other[other.find("sat")] = 'b';  // the same size
  write("a.jsonl", other);
  EXPECT_NE(data::example_cache_key(options_).value, first);
}

TEST_F(ExampleCacheTest, IsMadeOnceAndAnewWhenDamaged) {
  use("a.jsonl", kTwoChats);
  const auto content = stored_tokens(open());
  const auto file = std::filesystem::directory_iterator(folder_ / "cache")->path();
  const auto made = std::filesystem::last_write_time(file);
  EXPECT_EQ(stored_tokens(open()), content);
  EXPECT_EQ(std::filesystem::last_write_time(file), made);

  const std::string whole = read("cache/" + file.filename().string());
  const uint64_t key = data::example_cache_key(options_).value;
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    write("damaged.bin", damaged);
    EXPECT_THROW(data::ExampleCache(path("damaged.bin"), key), Error) << i;
    write("damaged.bin", whole.substr(0, i));
    EXPECT_THROW(data::ExampleCache(path("damaged.bin"), key), Error) << i;
  }
  write("cache/" + file.filename().string(), whole.substr(0, whole.size() / 2));
  EXPECT_EQ(stored_tokens(open()), content);
  EXPECT_EQ(read("cache/" + file.filename().string()), whole);
}

TEST_F(ExampleCacheTest, CompressedFilesAndThreadsGiveTheSameTokens) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += kTwoChats;
  use("a.jsonl", text);
  const auto content = stored_tokens(open());
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
  use("a.jsonl.zst", packed);
  ThreadPool threads(3);
  EXPECT_EQ(stored_tokens(open(&threads)), content);
}

TEST_F(ExampleCacheTest, CountsAndErrors) {
  use("a.jsonl", kTwoChats + "{bad\n" + kTwoChats);
  expect_refused([&] { open(); }, {"a.jsonl: line 3", "JSON"});
  options_.reading.on_bad_line = data::OnBadLine::skip;
  EXPECT_EQ(open().counts().summary(), "5 lines, 4 kept, 1 left out as no JSON");
  options_.files.push_back(options_.files[0]);
  EXPECT_EQ(open().counts().summary(), "10 lines, 8 kept, 2 left out as no JSON");
  options_.tokens.max_length = 20;
  expect_refused([&] { open(); }, {"no example is left", "8 left out as too many tokens", "20"});
  options_.tokens.excess_length_strategy = data::ExcessLength::truncate;
  options_.tokens.max_length = 5;
  expect_refused([&] { open(); }, {"8 left out without a learned token"});
  options_.tokens.excess_length_strategy = data::ExcessLength::raise;
  expect_refused([&] { open(); }, {"a.jsonl: line 1", "tokens; expected at most 5"});
  options_.files.clear();
  expect_refused([&] { open(); }, {"found no files"});
}

TEST_F(ExampleCacheTest, WhatTheTemplateRefusesIsLeftOutWhereBadLinesAre) {
  use("a.jsonl", kTwoChats +
                     R"({"messages":[{"role":"system","content":"be brief"},)"
                     R"({"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]})"
                     "\n");
  const auto chatml = data::render_turns(text::ChatTemplate::named("chatml"), tokenizer_);
  const data::RenderTurns strict = [&](std::span<const data::Turn> turns) {
    HEDDLE_CHECK(turns[0].role != data::Role::system, "chat: found a system turn; expected none");
    return chatml(turns);
  };
  const auto open_strictly = [&] {
    return data::open_example_cache(options_, tokenizer_, strict, path("cache"));
  };
  expect_refused([&] { open_strictly(); }, {"a.jsonl: line 3", "found a system turn"});
  options_.reading.on_bad_line = data::OnBadLine::skip;
  options_.tokens.skips_refused = true;
  for (int i = 0; i < 2; ++i) {  // made, and read again
    const data::ExampleCache cache = open_strictly();
    EXPECT_EQ(cache.examples().size(), 2u);
    EXPECT_EQ(cache.counts().summary(),
              "3 lines, 2 kept, 1 left out as the chat template refuses them");
  }
}

}  // namespace
}  // namespace heddle
