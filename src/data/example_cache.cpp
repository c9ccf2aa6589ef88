#include "heddle/data/example_cache.h"

#include <algorithm>
#include <array>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"

namespace heddle::data {

namespace {

constexpr uint64_t kExampleVersion = 2;                     // part of the key
constexpr std::string_view kExampleKind = "conversations";  // no key of sentence pairs
constexpr size_t kConversationBlock = 4096;                 // tokenised together
constexpr size_t kConversationBytes = size_t{32} << 20;     // of text; long ones make short blocks
constexpr int64_t kConversationShare = 16;                  // that a thread takes at a time
constexpr TokenFileShape kExampleShape{.lists = 1, .counts = 16};

std::array<uint64_t*, kExampleShape.counts> fields_of(ConversationCounts& counts) {
  return {&counts.lines,
          &counts.kept,
          &counts.blank_lines,
          &counts.empty,
          &counts.too_long_lines,
          &counts.not_json,
          &counts.wrong_fields,
          &counts.unsupported,
          &counts.not_utf8,
          &counts.nul,
          &counts.tokens.too_many_tokens,
          &counts.tokens.nothing_learned,
          &counts.tokens.refused,
          &counts.tokens.truncated,
          &counts.tokens.tokens,
          &counts.tokens.learned};
}

/// Reads one file block by block; all threads tokenise a block.
class ConversationBlocks {
 public:
  ConversationBlocks(const ChatTokens& tokens, ThreadPool* threads)
      : tokens_(tokens),
        threads_(threads),
        conversations_(kConversationBlock),
        examples_(kConversationBlock),
        outcomes_(kConversationBlock) {}

  ConversationCounts add(ConversationReader reader, const std::string& file,
                         TokenFileWriter& writer) {
    TokenCounts counts;
    std::vector<int32_t> stored;
    for (bool more = true; more;) {
      size_t count = 0;
      more = fill(reader, count);
      tokenize(count, file);
      for (size_t i = 0; i < count; ++i) {
        stored.clear();
        if (take_example(outcomes_[i], examples_[i], counts, stored)) writer.add_list(stored);
      }
    }
    ConversationCounts all = reader.counts();
    all.add(counts);
    return all;
  }

 private:
  bool fill(ConversationReader& reader, size_t& count) {
    for (size_t bytes = 0; count < kConversationBlock && bytes < kConversationBytes; ++count) {
      if (!reader.next(conversations_[count])) return false;
      for (const Turn& turn : conversations_[count].turns) bytes += turn.text.size();
    }
    return true;
  }

  void tokenize(size_t count, const std::string& file) {
    const auto share = [&](int64_t index, int) {
      const auto begin = static_cast<size_t>(index * kConversationShare);
      for (size_t i = begin; i < std::min(count, begin + kConversationShare); ++i) {
        outcomes_[i] = tokens_.encode(conversations_[i], file, examples_[i]);
      }
    };
    const int64_t shares =
        (static_cast<int64_t>(count) + kConversationShare - 1) / kConversationShare;
    if (threads_ != nullptr) {
      threads_->parallel_for(shares, share);
    } else {
      for (int64_t i = 0; i < shares; ++i) share(i, 0);
    }
  }

  const ChatTokens& tokens_;
  ThreadPool* threads_;
  std::vector<Conversation> conversations_;
  std::vector<TokenExample> examples_;
  std::vector<TokenOutcome> outcomes_;
};

void make_example_cache(const DatasetOptions& options, const ExampleCacheKey& key,
                        const std::string& path, ConversationBlocks blocks) {
  TokenFileWriter writer(path, key.value, kExampleShape);
  ConversationCounts total;
  const auto to = fields_of(total);
  for (size_t i = 0; i < options.files.size(); ++i) {
    ConversationCounts counts =
        blocks.add(open_conversations(options.files[i], key.states[i], options.reading),
                   options.files[i], writer);
    const auto from = fields_of(counts);
    for (size_t field = 0; field < to.size(); ++field) *to[field] += *from[field];
  }
  HEDDLE_CHECK(total.kept > 0, "data: no example is left to train on: ", total.summary(),
               "; expected examples of at most ", options.tokens.max_length, " tokens");
  std::array<uint64_t, kExampleShape.counts> numbers{};
  for (size_t field = 0; field < to.size(); ++field) numbers[field] = *to[field];
  writer.finish(numbers);
}

}  // namespace

ExampleCacheKey example_cache_key(const DatasetOptions& options) {
  ExampleCacheKey key;
  CacheHash hash;
  hash.add(kExampleKind);
  for (const uint64_t value :
       {kTokenFileVersion, kExampleVersion, static_cast<uint64_t>(options.reading.format),
        static_cast<uint64_t>(options.reading.on_bad_line), uint64_t{options.reading.longest_line},
        static_cast<uint64_t>(options.tokens.train_on),
        static_cast<uint64_t>(options.tokens.train_on_eos),
        static_cast<uint64_t>(options.tokens.max_length),
        static_cast<uint64_t>(options.tokens.excess_length_strategy),
        uint64_t{options.tokens.split_special_tokens}, uint64_t{options.vocabularies.size()}}) {
    hash.add(value);
  }
  hash.add(options.chat_template);
  for (const std::string& path : options.vocabularies) hash.add(state_of_file(path));
  for (const std::string& path : options.files) {
    hash.add(key.states.emplace_back(state_of_file(path)));
  }
  key.value = hash.value();
  return key;
}

ExampleCache::ExampleCache(const std::string& path, uint64_t key)
    : file_(path, key, kExampleShape) {
  const auto fields = fields_of(counts_);
  for (size_t i = 0; i < fields.size(); ++i) *fields[i] = file_.counts()[i];
}

ExampleCache open_example_cache(const DatasetOptions& options, const text::BpeTokenizer& tokenizer,
                                const RenderTurns& render, const std::string& folder,
                                ThreadPool* threads) {
  HEDDLE_CHECK(!options.files.empty(), "dataset: found no files; expected some to train on");
  const ExampleCacheKey key = example_cache_key(options);
  const std::string path = token_file_path(folder, key.value);
  if (io::exists(path)) {
    try {
      return ExampleCache(path, key.value);
    } catch (const Error&) {
      // Whatever is wrong with it, making it again is right.
    }
  }
  io::make_folder(folder);
  const ChatTokens tokens(tokenizer, render, options.tokens);
  make_example_cache(options, key, path, ConversationBlocks(tokens, threads));
  return ExampleCache(path, key.value);
}

}  // namespace heddle::data
