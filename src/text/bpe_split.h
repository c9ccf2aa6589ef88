// The pre-tokenizer of a tokenizer.json: cuts a text into the words that the merges work on, each
// by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/bpe_pattern.h"

namespace heddle::text {

/// What becomes of the matches at which a text is cut.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Characters that are found without a pattern.
enum class CharClass : uint8_t { none, number, punctuation, white_space };

struct SplitStep {
  enum class Kind {
    cut,         // at what `pattern` or `chars` finds
    prefix,      // puts `content` in front of each word that does not begin with it
    replace,     // each space becomes `content`
    byte_chars,  // bytes become the characters that stand for them
  };
  Kind kind = Kind::cut;
  BpePattern pattern;
  CharClass chars = CharClass::none;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // cuts at what is between the matches
  std::string content;
  bool only_first = false;  // the prefix is for a word at the start of the whole text
};

/// A text and its words in their order. Steps that rewrite change both.
struct SplitText {
  std::string_view text;  // the caller's, or `storage`
  std::string storage;
  std::vector<Span> words;
  bool starts_whole = true;  // words[0] is where the whole text begins
};

/// What steps need while they work, for one thread; made by Splitter::make_scratch.
struct SplitScratch {
  std::vector<PatternSearch> searches;  // one a step
  std::vector<Span> matches, words;
  std::string text;
};

/// Immutable once filled: any number of threads may use it.
class BpeSplitter {
 public:
  std::vector<SplitStep> steps;

  SplitScratch make_scratch() const;

  /// Cuts `split.text`, which is UTF-8 and not empty. No word is empty.
  void apply(SplitText& split, SplitScratch& scratch) const;
};

}  // namespace heddle::text
