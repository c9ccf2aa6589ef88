// Tokenised conversations in a file of their own, as token_cache.h has sentence pairs: made once,
// mapped into memory, so that data of any size is packed with little memory.
//
// The key covers the bytes of all files and of the tokenizer's, the chat template, what is learned,
// lengths, and what becomes of lines that cannot be used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/data/chat_tokens.h"
#include "heddle/data/token_examples.h"
#include "heddle/data/token_file.h"

namespace heddle::data {

struct DatasetOptions {
  std::vector<std::string> files;  ///< jsonl, read one after another
  ConversationOptions reading;     ///< an automatic format is found for each file
  ChatTokenOptions tokens;
  std::vector<std::string> vocabularies;  ///< files that the tokenizer was made of
  std::string chat_template;              ///< its text: what tells it from any other
};

struct ExampleCacheKey {
  uint64_t value = 0;
  std::vector<FileState> states;  ///< of the files
};

/// Reads all files.
ExampleCacheKey example_cache_key(const DatasetOptions& options);

class ExampleCache {
 public:
  /// Maps a file and checks every byte of it; throws when it is damaged or has another key.
  ExampleCache(const std::string& path, uint64_t key);

  TokenExamples examples() const { return {file_.tokens(), file_.offsets()}; }
  const ConversationCounts& counts() const { return counts_; }

 private:
  TokenFile file_;
  ConversationCounts counts_;
};

/// Opens the cache of these options in the folder, or makes it. Throws when no example is left.
ExampleCache open_example_cache(const DatasetOptions& options, const text::BpeTokenizer& tokenizer,
                                const RenderTurns& render, const std::string& folder,
                                ThreadPool* threads = nullptr);

}  // namespace heddle::data
