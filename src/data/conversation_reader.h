// Reads conversations from jsonl, one a line, with bounded memory and whatever bytes come:
//
//   not UTF-8, \u0000                    replaced by U+FFFD, counted
//   an empty line                        left out, counted
//   no text in any turn, or no answer    left out, counted
//   more than `longest_line` bytes       an Error with file and line, or left out and counted
//   no JSON, or a key twice              the same (on_bad_line), and so are
//   fields missing or of another type    …
//   tools, images, parts of content      …
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "heddle/data/conversation.h"
#include "heddle/data/input_file.h"
#include "heddle/text/line_reader.h"

namespace heddle::data {

enum class OnBadLine : uint8_t { raise, skip };

struct ConversationOptions {
  DatasetFormat format = DatasetFormat::automatic;
  OnBadLine on_bad_line = OnBadLine::raise;
  size_t longest_line = size_t{4} << 20;  ///< bytes
};

/// What became of conversations when they were made tokens.
struct TokenCounts {
  uint64_t too_many_tokens = 0, nothing_learned = 0;  ///< examples left out
  uint64_t truncated = 0;                             ///< examples among those kept
  uint64_t tokens = 0, learned = 0;                   ///< tokens of those kept
};

struct ConversationCounts {
  uint64_t lines = 0;  ///< read
  uint64_t kept = 0;
  uint64_t blank_lines = 0, empty = 0;
  uint64_t too_long_lines = 0, not_json = 0, wrong_fields = 0, unsupported = 0;  ///< left out
  uint64_t not_utf8 = 0, nul = 0;  ///< replaced characters, not lines
  TokenCounts tokens{};            ///< of add(): a reader makes no tokens

  /// Adds what became of the tokens; `kept` falls by what is left out.
  void add(const TokenCounts& counts);

  /// What a person should know before a long training; a line each, mostly none.
  std::vector<std::string> warnings() const;

  /// "1,000 lines, 990 kept, 10 left out as …".
  std::string summary() const;
};

/// The conversations of one file, in their order.
class ConversationReader {
 public:
  /// Reads bytes as they come; `name` stands for the file in errors.
  ConversationReader(text::ReadBytes read, std::string name,
                     const ConversationOptions& options = {});

  /// The next conversation that is kept; false at the end.
  bool next(Conversation& conversation);

  /// Of what was read so far.
  const ConversationCounts& counts() const { return counts_; }

  /// As named, or as the first line has it; automatic before that.
  DatasetFormat format() const { return options_.format; }

 private:
  bool parse_line(Conversation& conversation);

  text::LineReader lines_;
  std::string name_;
  ConversationOptions options_;
  ConversationCounts counts_;
  std::string line_;
};

/// Opens a file, compressed or not, that must still be what it was when `state` was taken.
ConversationReader open_conversations(const std::string& path, const FileState& state,
                                      const ConversationOptions& options = {});

}  // namespace heddle::data
