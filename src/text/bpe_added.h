// The added tokens of a tokenizer.json: texts that are found before anything is cut, each one id.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/bpe_pattern.h"

namespace heddle::text {

inline constexpr size_t kMaxAddedBytes = 1024;  // a search looks so far ahead at any place

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;
  bool single_word = false;  // not beside a letter or a digit
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // … and behind it
  bool normalized = false;   // is looked for in the normalised text
};

/// Finds tokens: the leftmost, and of those the longest. Immutable.
class AddedTokens {
 public:
  /// A part of a text: a token, or what is between two (id -1). It may reach back over the part
  /// before it, where both take the same white space.
  struct Part {
    Span range;
    int32_t id = -1;
  };

  AddedTokens() = default;
  /// Tokens whose content is empty are left out.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// Replaces `parts` by those of the text, none empty. `allow_special`: special tokens count.
  void find(std::string_view text, bool allow_special, std::vector<Part>& parts) const;

 private:
  struct Range {
    size_t begin = 0, end = 0;  // places in tokens_
  };
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // by content
  std::array<Range, 256> by_first_byte_{};
};

}  // namespace heddle::text
