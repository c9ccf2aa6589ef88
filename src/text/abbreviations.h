// Words that are written with a full stop which does not end a sentence.
#pragma once

#include <string_view>

namespace heddle::text {

enum class Abbreviation {
  none,
  always,         // "Dr.", "e.g.": something follows
  before_number,  // "No.", "Fig.": only when a number follows
};

/// `word` without its last full stop; the case of its first letter does not matter. `language` is
/// two or three lower-case letters.
Abbreviation abbreviation_of(std::string_view word, std::string_view language);

/// Whether "3." is "third" in the language.
bool has_dotted_ordinals(std::string_view language);

}  // namespace heddle::text
