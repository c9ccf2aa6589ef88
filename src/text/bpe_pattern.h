// What a text is searched for by the steps of a tokenizer.json: a fixed text, or a regular
// expression. The files are written for Oniguruma with Ruby's syntax; ICU runs them here, and a
// construct that the two read in different ways is refused, or rewritten where ICU can say the
// same.
//
//   const BpePattern pattern = BpePattern::regex("\\p{L}+|\\s+", "tokenizer.json.pre_tokenizer");
//   PatternSearch search(pattern);                 one for each thread
//   search.find("two words", matches);             [0, 3) [3, 4) [4, 9)
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/utf8.h"

namespace heddle::text {

inline constexpr size_t kMaxPatternBytes = 4096;

/// Immutable: any number of threads may search with one pattern.
class BpePattern {
 public:
  BpePattern();  ///< a fixed text, empty: finds nothing
  BpePattern(BpePattern&&) noexcept;
  BpePattern& operator=(BpePattern&&) noexcept;
  ~BpePattern();

  static BpePattern fixed(std::string text);

  /// Throws an Error that names the place when ICU cannot take the expression, or reads it in
  /// another way than Oniguruma.
  static BpePattern regex(std::string_view expression, std::string_view place);

 private:
  friend class PatternSearch;
  struct Compiled;
  std::string fixed_;
  std::unique_ptr<const Compiled> compiled_;
};

/// Searches text after text. The pattern must outlive it.
class PatternSearch {
 public:
  explicit PatternSearch(const BpePattern& pattern);
  PatternSearch(PatternSearch&&) noexcept;
  PatternSearch& operator=(PatternSearch&&) noexcept;
  ~PatternSearch();

  /// Replaces `matches` by all matches from left to right, none overlapping; an empty match that
  /// follows another match at once is left out. The text is UTF-8. Throws when the expression
  /// takes much longer than the length of the text explains.
  void find(std::string_view text, std::vector<Span>& matches);

 private:
  struct State;
  const BpePattern* pattern_;
  std::unique_ptr<State> state_;
};

}  // namespace heddle::text
