#include "heddle/data/preference_cache.h"

#include <algorithm>
#include <array>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"

namespace heddle::data {

namespace {

constexpr uint64_t kPreferenceVersion = 2;                   // part of the key
constexpr std::string_view kPreferenceKind = "preferences";  // no key of conversations
constexpr size_t kPreferenceBlock = 1024;                    // preferences tokenised together
constexpr size_t kPreferenceBytes = size_t{32} << 20;        // of text; long ones make short blocks
constexpr int64_t kPreferenceShare = 16;                     // that a thread takes at a time
constexpr TokenFileShape kPreferenceShape{.lists = 2, .counts = 23};

std::array<uint64_t*, kPreferenceShape.counts> fields_of(PreferenceCounts& counts) {
  ConversationCounts& lines = counts.lines;
  return {&lines.lines,
          &lines.kept,
          &lines.blank_lines,
          &lines.empty,
          &lines.too_long_lines,
          &lines.not_json,
          &lines.wrong_fields,
          &lines.unsupported,
          &lines.not_utf8,
          &lines.nul,
          &lines.tokens.too_many_tokens,
          &lines.tokens.nothing_learned,
          &lines.tokens.refused,
          &lines.tokens.truncated,
          &lines.tokens.tokens,
          &lines.tokens.learned,
          &counts.contradictions,
          &counts.no_pair,
          &counts.empty_answers,
          &counts.equal_answers,
          &counts.answers,
          &counts.pairs,
          &counts.repeated};
}

/// Reads one file block by block; all threads tokenise a block.
class PreferenceBlocks {
 public:
  PreferenceBlocks(const PreferenceTokens& tokens, ThreadPool* threads)
      : tokens_(tokens),
        threads_(threads),
        read_(kPreferenceBlock),
        made_(kPreferenceBlock),
        outcomes_(kPreferenceBlock) {}

  PreferenceCounts add(PreferenceReader& reader, const std::string& file, TokenFileWriter& writer) {
    PreferenceCounts of_tokens;
    for (bool more = true; more;) {
      size_t count = 0;
      more = fill(reader, count);
      tokenize(count, file);
      for (size_t i = 0; i < count; ++i) take(i, of_tokens, writer);
    }
    PreferenceCounts all = reader.counts();
    all.lines.add(of_tokens.lines.tokens);
    all.answers = of_tokens.answers;
    all.pairs = of_tokens.pairs;
    all.repeated = of_tokens.repeated;
    return all;
  }

 private:
  bool fill(PreferenceReader& reader, size_t& count) {
    for (size_t bytes = 0; count < kPreferenceBlock && bytes < kPreferenceBytes; ++count) {
      if (!reader.next(read_[count])) return false;
      for (const auto& answer : read_[count].answers) {
        for (const Turn& turn : answer) bytes += turn.text.size();
        for (const Turn& turn : read_[count].prompt) bytes += turn.text.size();
      }
    }
    return true;
  }

  void tokenize(size_t count, const std::string& file) {
    const auto share = [&](int64_t index, int) {
      const auto begin = static_cast<size_t>(index * kPreferenceShare);
      for (size_t i = begin; i < std::min(count, begin + kPreferenceShare); ++i) {
        outcomes_[i] = tokens_.encode(read_[i], file, made_[i]);
      }
    };
    const int64_t shares = (static_cast<int64_t>(count) + kPreferenceShare - 1) / kPreferenceShare;
    if (threads_ != nullptr) {
      threads_->parallel_for(shares, share);
    } else {
      for (int64_t i = 0; i < shares; ++i) share(i, 0);
    }
  }

  void take(size_t i, PreferenceCounts& counts, TokenFileWriter& writer) const {
    TokenCounts& tokens = counts.lines.tokens;
    if (outcomes_[i] == TokenOutcome::too_long) ++tokens.too_many_tokens;
    if (outcomes_[i] == TokenOutcome::nothing_learned) ++tokens.nothing_learned;
    if (outcomes_[i] == TokenOutcome::refused) ++tokens.refused;
    if (outcomes_[i] == TokenOutcome::truncated) ++tokens.truncated;
    if (is_left_out(outcomes_[i])) return;
    const TokenGroup& group = made_[i];
    writer.add_list(shape_of(group.shape));
    writer.add_list(group.stored);
    tokens.tokens += group.stored.size();
    tokens.learned +=
        static_cast<uint64_t>(std::count_if(group.stored.begin(), group.stored.end(), is_learned));
    counts.answers += group.shape.answers.size();
    counts.pairs += pairs_of(group.shape.scores);
    counts.repeated += group.shape.shared ? 0 : 1;
  }

  const PreferenceTokens& tokens_;
  ThreadPool* threads_;
  std::vector<Preference> read_;
  std::vector<TokenGroup> made_;
  std::vector<TokenOutcome> outcomes_;
};

void make_preference_cache(const PreferenceOptions& options, const PreferenceCacheKey& key,
                           const std::string& path, PreferenceBlocks blocks) {
  TokenFileWriter writer(path, key.value, kPreferenceShape);
  PreferenceCounts total;
  const auto to = fields_of(total);
  for (size_t i = 0; i < options.files.size(); ++i) {
    PreferenceReader reader(open_text(options.files[i], key.states[i]), options.files[i],
                            options.reading);
    PreferenceCounts counts = blocks.add(reader, options.files[i], writer);
    const auto from = fields_of(counts);
    for (size_t field = 0; field < to.size(); ++field) *to[field] += *from[field];
  }
  HEDDLE_CHECK(total.lines.kept > 0, "data: no question is left to train on: ", total.summary(),
               "; expected questions with answers of different scores, of at most ",
               options.tokens.tokens.max_length, " tokens");
  std::array<uint64_t, kPreferenceShape.counts> numbers{};
  for (size_t field = 0; field < to.size(); ++field) numbers[field] = *to[field];
  writer.finish(numbers);
}

}  // namespace

PreferenceCacheKey preference_cache_key(const PreferenceOptions& options) {
  PreferenceCacheKey key;
  CacheHash hash;
  hash.add(kPreferenceKind);
  const ChatTokenOptions& tokens = options.tokens.tokens;
  for (const uint64_t value :
       {kTokenFileVersion, kPreferenceVersion, static_cast<uint64_t>(options.reading.on_bad_line),
        uint64_t{options.reading.longest_line}, static_cast<uint64_t>(tokens.train_on_eos),
        static_cast<uint64_t>(tokens.max_length),
        static_cast<uint64_t>(tokens.excess_length_strategy), uint64_t{tokens.split_special_tokens},
        static_cast<uint64_t>(options.tokens.row_length),
        static_cast<uint64_t>(options.tokens.window), uint64_t{options.tokens.share},
        uint64_t{options.vocabularies.size()}}) {
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

PreferenceCache::PreferenceCache(const std::string& path, uint64_t key)
    : file_(path, key, kPreferenceShape) {
  const auto fields = fields_of(counts_);
  for (size_t i = 0; i < fields.size(); ++i) *fields[i] = file_.counts()[i];
}

PreferenceCache open_preference_cache(const PreferenceOptions& options,
                                      const text::BpeTokenizer& tokenizer,
                                      const RenderTurns& render, const std::string& folder,
                                      ThreadPool* threads) {
  HEDDLE_CHECK(!options.files.empty(), "dataset: found no files; expected some to train on");
  const PreferenceCacheKey key = preference_cache_key(options);
  const std::string path = token_file_path(folder, key.value);
  if (io::exists(path)) {
    try {
      return PreferenceCache(path, key.value);
    } catch (const Error&) {
      // Whatever is wrong with it, making it again is right.
    }
  }
  io::make_folder(folder);
  const PreferenceTokens tokens(tokenizer, render, options.tokens);
  make_preference_cache(options, key, path, PreferenceBlocks(tokens, threads));
  return PreferenceCache(path, key.value);
}

}  // namespace heddle::data
