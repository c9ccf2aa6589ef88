// Where sentences end: Unicode's rules (ICU), and above them what a full stop means in a language:
// abbreviations, initials, ordinals and the numbers of lists do not end a sentence.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "heddle/text/utf8.h"

namespace heddle::text {

/// Finds sentences. One thread at a time; make one for each.
class SentenceSplitter {
 public:
  /// `language` as in "en", "pt-BR" or "de_AT"; one without a list of its own gets the general
  /// rules.
  explicit SentenceSplitter(std::string_view language = "");
  SentenceSplitter(SentenceSplitter&&) noexcept;
  SentenceSplitter& operator=(SentenceSplitter&&) noexcept;
  ~SentenceSplitter();

  /// The sentences of a text in order, without the white space around them; none when there is
  /// nothing else. The text must be UTF-8 (normalize_line).
  void split(std::string_view text, std::vector<Span>& sentences);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The same, once.
std::vector<Span> split_sentences(std::string_view text, std::string_view language = "");

}  // namespace heddle::text
