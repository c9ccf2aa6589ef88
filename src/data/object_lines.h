// The objects of a jsonl file, one a line, with bounded memory; what becomes of lines that are none
// is counted. For conversation_reader.h and preference_reader.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/data/conversation.h"
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
  uint64_t refused = 0;                               ///< … by the chat template
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

/// Whether there is nothing but spaces, tabs and ends of lines.
bool is_only_space(std::string_view text);

/// NUL becomes U+FFFD; returns how many.
uint64_t replace_nul(std::string& given);

class ObjectLines {
 public:
  /// Reads bytes as they come; `name` stands for the file in errors.
  ObjectLines(text::ReadBytes read, std::string name, const ConversationOptions& options);

  /// Gives the object of the next line to `parse`, until one is parsed without an Error; false at
  /// the end. Errors are thrown on, or their lines left out and counted.
  bool next(const std::function<void(const io::Field& object)>& parse, ConversationCounts& counts);

  uint64_t line() const { return lines_.lines(); }  ///< of the object given last, from 1

 private:
  bool parse_line(const std::function<void(const io::Field& object)>& parse,
                  ConversationCounts& counts);

  text::LineReader lines_;
  std::string name_;
  size_t longest_;
  OnBadLine on_bad_line_;
  std::string line_;
};

}  // namespace heddle::data
