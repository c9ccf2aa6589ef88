// How a token cache is made: blocks of pairs are tokenised by all threads and written in order.
#include <algorithm>
#include <array>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/data/corpus_counts.h"
#include "heddle/data/token_cache.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"

namespace heddle::data {

namespace {

constexpr size_t kBlock = 4096;                   // pairs
constexpr size_t kBlockBytes = size_t{32} << 20;  // of text; long lines make short blocks
constexpr int64_t kShare = 64;                    // pairs a thread takes at a time

struct TokenisedPair {
  std::string source, target;
  std::vector<int32_t> source_ids, target_ids;
  float weight = 1;
};

void add_pair(const TokenisedPair& pair, TokenFileWriter& writer) {
  writer.add_list(pair.source_ids);
  writer.add_list(pair.target_ids);
  writer.add_weight(pair.weight);
}

class Builder {
 public:
  Builder(const CorpusOptions& options, const Tokenizers& tokenizers, ThreadPool* threads)
      : options_(options), tokenizers_(tokenizers), threads_(threads), block_(kBlock) {}

  /// Adds the counts of one set of files to `total`.
  void add(const CorpusFiles& files, const std::vector<FileState>& states, TokenFileWriter& writer,
           CorpusCounts& total) {
    CorpusReader reader = open_corpus(files, options_.longest_line, states);
    uint64_t too_many = 0, empty = 0;
    for (bool more = true; more;) {
      size_t count = 0;
      more = fill(reader, count);
      tokenize(count);
      for (size_t i = 0; i < count; ++i) {
        const TokenisedPair& pair = block_[i];
        if (pair.source_ids.empty() || pair.target_ids.empty()) {
          ++empty;  // characters that the model's own table drops
        } else if (!fits(pair)) {
          ++too_many;
        } else {
          add_pair(pair, writer);
        }
      }
    }
    CorpusCounts counts = reader.counts();
    counts.too_many_tokens = too_many;
    counts.empty_both += empty;
    counts.kept -= too_many + empty;
    if (total.suspicious > 0) counts.suspicious_line = 0;  // the first file's stays
    const auto from = fields_of(counts), to = fields_of(total);
    for (size_t i = 0; i < to.size(); ++i) *to[i] += *from[i];
  }

 private:
  bool fill(CorpusReader& reader, size_t& count) {
    Pair pair;
    size_t bytes = 0;
    while (count < kBlock && bytes < kBlockBytes) {
      if (!reader.next(pair)) return false;
      block_[count].source.assign(pair.source);
      block_[count].target.assign(pair.target);
      block_[count].weight = pair.weight;
      bytes += pair.source.size() + pair.target.size();
      ++count;
    }
    return true;
  }

  void tokenize(size_t count) {
    const auto share = [this, count](int64_t index, int) {
      const auto begin = static_cast<size_t>(index * kShare);
      for (size_t i = begin; i < std::min(count, begin + kShare); ++i) {
        tokenizers_.source.encode(block_[i].source, block_[i].source_ids);
        tokenizers_.target.encode(block_[i].target, block_[i].target_ids);
      }
    };
    const int64_t shares = (static_cast<int64_t>(count) + kShare - 1) / kShare;
    if (threads_ != nullptr) {
      threads_->parallel_for(shares, share);
    } else {
      for (int64_t i = 0; i < shares; ++i) share(i, 0);
    }
  }

  bool fits(const TokenisedPair& pair) const {
    return std::cmp_less_equal(pair.source_ids.size(), options_.max_source_tokens) &&
           std::cmp_less_equal(pair.target_ids.size(), options_.max_target_tokens);
  }

  const CorpusOptions& options_;
  const Tokenizers& tokenizers_;
  ThreadPool* threads_;
  std::vector<TokenisedPair> block_;
};

}  // namespace

CacheKey cache_key(const CorpusOptions& options) {
  CacheKey key;
  CacheHash hash;
  hash.add(kTokenFileVersion);
  hash.add(static_cast<uint64_t>(options.max_source_tokens));
  hash.add(static_cast<uint64_t>(options.max_target_tokens));
  hash.add(options.longest_line);
  hash.add(options.vocabularies.size());
  for (const std::string& path : options.vocabularies) hash.add(state_of_file(path));
  for (const CorpusFiles& files : options.files) {
    const std::vector<std::string> paths = paths_of(files);
    hash.add(paths.size());
    for (const int column : {files.source_column, files.target_column, files.weight_column}) {
      hash.add(static_cast<uint64_t>(column));
    }
    for (const auto* field : {&files.source_field, &files.target_field, &files.weight_field}) {
      hash.add(*field);
    }
    hash.add(is_jsonl(files.pairs) ? uint64_t{1} : uint64_t{0});
    auto& states = key.states.emplace_back();
    for (const std::string& path : paths) hash.add(states.emplace_back(state_of_file(path)));
  }
  key.value = hash.value();
  return key;
}

TokenCache open_token_cache(const CorpusOptions& options, const Tokenizers& tokenizers,
                            const std::string& folder, ThreadPool* threads) {
  HEDDLE_CHECK(!options.files.empty(), "data: found no files; expected some to train on");
  const CacheKey key = cache_key(options);
  const std::string path = token_file_path(folder, key.value);
  if (io::exists(path)) {
    try {
      return TokenCache(path, key.value);
    } catch (const Error&) {
      // Whatever is wrong with it, making it again is right.
    }
  }
  io::make_folder(folder);
  TokenFileWriter writer(path, key.value, kPairShape);
  Builder builder(options, tokenizers, threads);
  CorpusCounts counts;
  for (size_t i = 0; i < options.files.size(); ++i) {
    builder.add(options.files[i], key.states[i], writer, counts);
  }
  HEDDLE_CHECK(counts.kept > 0, "data: no pair is left to train on: ", counts.summary(),
               "; expected pairs of at most ", options.max_source_tokens, " and ",
               options.max_target_tokens, " tokens");
  std::array<uint64_t, kPairShape.counts> numbers{};
  const auto fields = fields_of(counts);
  for (size_t i = 0; i < fields.size(); ++i) numbers[i] = *fields[i];
  writer.finish(numbers);
  return TokenCache(path, key.value);
}

}  // namespace heddle::data
