// The normalizer of a tokenizer.json: what a text goes through before it is cut into words.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/bpe_pattern.h"

namespace heddle::text {

/// Steps that rewrite a text may make it so many times as long, and no longer.
inline constexpr size_t kMaxGrowth = 16;

/// Throws when a text of `before` bytes has become one of `after`.
void check_growth(size_t before, size_t after);

/// Of Unicode (UAX #15).
enum class NormalForm { nfc, nfd, nfkc, nfkd };

struct NormalizeStep {
  enum class Kind { form, prepend, replace };
  Kind kind = Kind::form;
  NormalForm form = NormalForm::nfc;
  BpePattern pattern;   // of replace
  std::string content;  // what is put in front of a text that is not empty, or for each match
};

/// Immutable once filled: any number of threads may use it.
class BpeNormalizer {
 public:
  std::vector<NormalizeStep> steps;

  /// The text itself when nothing changes, else a view of `storage`. The text is UTF-8.
  std::string_view apply(std::string_view text, std::string& storage) const;
};

}  // namespace heddle::text
