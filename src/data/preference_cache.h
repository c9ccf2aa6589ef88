// Tokenised preferences in a file of their own, as example_cache.h has conversations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/data/preference_groups.h"
#include "heddle/data/preference_tokens.h"
#include "heddle/data/token_file.h"

namespace heddle::data {

struct PreferenceOptions {
  std::vector<std::string> files;  ///< jsonl, read one after another
  ConversationOptions reading;     ///< its format is not looked at
  PreferenceTokenOptions tokens;
  std::vector<std::string> vocabularies;  ///< files that the tokenizer was made of
  std::string chat_template;              ///< its text: what tells it from any other
};

struct PreferenceCacheKey {
  uint64_t value = 0;
  std::vector<FileState> states;  ///< of the files
};

/// Reads all files.
PreferenceCacheKey preference_cache_key(const PreferenceOptions& options);

class PreferenceCache {
 public:
  /// Maps a file and checks every byte of it; throws when it is damaged or has another key.
  PreferenceCache(const std::string& path, uint64_t key);

  PreferenceGroups groups() const { return {file_.tokens(), file_.offsets()}; }
  const PreferenceCounts& counts() const { return counts_; }

 private:
  TokenFile file_;
  PreferenceCounts counts_;
};

/// Opens the cache of these options in the folder, or makes it. Throws when no question is left.
PreferenceCache open_preference_cache(const PreferenceOptions& options,
                                      const text::BpeTokenizer& tokenizer,
                                      const RenderTurns& render, const std::string& folder,
                                      ThreadPool* threads = nullptr);

}  // namespace heddle::data
