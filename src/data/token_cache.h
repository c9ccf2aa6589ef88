// Tokenised pairs in a file of their own, made once and mapped into memory: a run starts at once,
// and text of any size is trained on with little memory.
//
// The key, which is also in the file's name, is a hash of all that the content depends on: the
// bytes of texts and vocabularies, columns, limits, the version of this format. Whatever does not
// fit is made anew.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/data/corpus.h"
#include "heddle/data/token_file.h"
#include "heddle/data/token_pairs.h"
#include "heddle/text/tokenizer.h"

namespace heddle::data {

struct CorpusOptions {
  std::vector<CorpusFiles> files;         ///< read one after another
  std::vector<std::string> vocabularies;  ///< files that the tokenisers were made of
  int64_t max_source_tokens = 256;        ///< pairs with more are left out
  int64_t max_target_tokens = 256;
  size_t longest_line = size_t{1} << 20;  ///< bytes
};

struct Tokenizers {
  const text::Tokenizer& source;
  const text::Tokenizer& target;
};

/// What a cache is made from, as it is now.
struct CacheKey {
  uint64_t value = 0;
  std::vector<std::vector<FileState>> states;  ///< of each set of files
};

/// Reads all files.
CacheKey cache_key(const CorpusOptions& options);

class TokenCache {
 public:
  /// Maps a file and checks every byte of it; throws when it is damaged or has another key.
  TokenCache(const std::string& path, uint64_t key);

  const TokenPairs& pairs() const { return pairs_; }
  const CorpusCounts& counts() const { return counts_; }

 private:
  TokenFile file_;
  TokenPairs pairs_;
  CorpusCounts counts_;
};

/// Opens the cache of these options in the folder, or makes it. Throws when no pair is left.
TokenCache open_token_cache(const CorpusOptions& options, const Tokenizers& tokenizers,
                            const std::string& folder, ThreadPool* threads = nullptr);

}  // namespace heddle::data
