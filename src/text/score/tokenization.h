// How BLEU cuts a line into words: the tokenisations of sacreBLEU.
#pragma once

#include <string>
#include <string_view>

namespace heddle::text::score {

enum class Tokenization {
  none,
  mteval13a,      // "13a": mteval-v13a, the usual one
  international,  // "intl": mteval-v14, by Unicode's classes
  character,      // "char"
  chinese,        // "zh": ideographs apart, the rest as 13a
};

/// Throws for a name that is none of those in quotes above, nor "none".
Tokenization tokenization_of(std::string_view name);
std::string_view name_of(Tokenization tokenization);

/// The line with its words apart; words are what white space separates.
std::string tokenize(std::string_view line, Tokenization tokenization);

}  // namespace heddle::text::score
