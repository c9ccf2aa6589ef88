#include "heddle/text/bpe_pattern.h"

#include <unicode/regex.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"
#include "heddle/text/bpe_regex_syntax.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

// A tick of ICU is 10,000 saved states, about a tenth of a millisecond. The usual patterns save
// fewer than ten states a character.
constexpr size_t kBaseTicks = 1000;
constexpr size_t kCharsPerTick = 64;
constexpr int32_t kStackBytes = 32 << 20;

icu::UnicodeString alias(const std::u16string& text) {
  return {static_cast<UBool>(false), text.data(), static_cast<int32_t>(text.size())};
}

/// Valid UTF-8 as UTF-16, into memory that is used again.
void to_utf16(std::string_view text, std::u16string& units) {
  units.resize(text.size());
  size_t count = 0;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      units[count++] = byte;
      ++i;
      continue;
    }
    const CodePoint point = decode_utf8(text, i);
    i += static_cast<size_t>(point.bytes);
    if (point.value < 0x10000) {
      units[count++] = static_cast<char16_t>(point.value);
    } else {
      units[count++] = static_cast<char16_t>(0xD7C0 + (point.value >> 10));
      units[count++] = static_cast<char16_t>(0xDC00 + (point.value & 0x3FF));
    }
  }
  units.resize(count);
}

/// Goes along a text and tells where a place in its UTF-16 is in its UTF-8.
class Places {
 public:
  explicit Places(std::string_view text) : text_(text) {}

  /// Of places in ascending order.
  size_t bytes_before(size_t unit) {
    while (unit_ < unit && byte_ < text_.size()) {
      const auto lead = static_cast<unsigned char>(text_[byte_]);
      byte_ += lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      unit_ += lead < 0xF0 ? 1 : 2;
    }
    return byte_;
  }

 private:
  std::string_view text_;
  size_t byte_ = 0, unit_ = 0;
};

void check_search(UErrorCode status, size_t bytes) {
  HEDDLE_CHECK(status != U_REGEX_TIME_OUT && status != U_REGEX_STACK_OVERFLOW,
               "tokenizer: found a text of ", bytes, " bytes on which the regular expression of ",
               "the pre-tokenizer does not end in reasonable time (", u_errorName(status),
               "); expected one without repetitions inside repetitions");
  HEDDLE_CHECK(U_SUCCESS(status), "tokenizer: cannot search a text of ", bytes,
               " bytes: ", u_errorName(status));
}

}  // namespace

struct BpePattern::Compiled {
  std::unique_ptr<icu::RegexPattern> regex;
};

BpePattern::BpePattern() = default;
BpePattern::BpePattern(BpePattern&&) noexcept = default;
BpePattern& BpePattern::operator=(BpePattern&&) noexcept = default;
BpePattern::~BpePattern() = default;

BpePattern BpePattern::fixed(std::string text) {
  BpePattern pattern;
  pattern.fixed_ = std::move(text);
  return pattern;
}

BpePattern BpePattern::regex(std::string_view expression, std::string_view place) {
  HEDDLE_CHECK(!expression.empty() && expression.size() <= kMaxPatternBytes, "tokenizer: ", place,
               ": found a regular expression of ", expression.size(), " bytes; expected 1 to ",
               kMaxPatternBytes);
  std::u16string units;
  to_utf16(regex_for_icu(expression, place), units);
  auto compiled = std::make_unique<Compiled>();
  UErrorCode status = U_ZERO_ERROR;
  UParseError where{};
  compiled->regex.reset(icu::RegexPattern::compile(
      alias(units), UREGEX_MULTILINE | UREGEX_UNIX_LINES, where, status));
  HEDDLE_CHECK(U_SUCCESS(status) && compiled->regex != nullptr, "tokenizer: ", place,
               ": found the regular expression ", io::quoted(expression), ", which ICU refuses (",
               u_errorName(status), " at character ", where.offset,
               "); expected one that it can read");
  BpePattern pattern;
  pattern.compiled_ = std::move(compiled);
  return pattern;
}

struct PatternSearch::State {
  std::unique_ptr<icu::RegexMatcher> matcher;
  std::u16string units;
};

PatternSearch::PatternSearch(const BpePattern& pattern) : pattern_(&pattern) {
  if (!pattern.compiled_) return;
  state_ = std::make_unique<State>();
  UErrorCode status = U_ZERO_ERROR;
  state_->matcher.reset(pattern.compiled_->regex->matcher(status));
  if (U_SUCCESS(status)) state_->matcher->setStackLimit(kStackBytes, status);
  check_search(status, 0);
}

PatternSearch::PatternSearch(PatternSearch&&) noexcept = default;
PatternSearch& PatternSearch::operator=(PatternSearch&&) noexcept = default;
PatternSearch::~PatternSearch() = default;

void PatternSearch::find(std::string_view text, std::vector<Span>& matches) {
  matches.clear();
  if (!state_) {
    const std::string& fixed = pattern_->fixed_;
    if (fixed.empty()) return;
    for (size_t at = text.find(fixed); at != text.npos; at = text.find(fixed, at + fixed.size())) {
      matches.push_back({at, at + fixed.size()});
    }
    return;
  }
  to_utf16(text, state_->units);
  const icu::UnicodeString input = alias(state_->units);
  icu::RegexMatcher& matcher = *state_->matcher;
  UErrorCode status = U_ZERO_ERROR;
  matcher.setTimeLimit(static_cast<int32_t>(kBaseTicks + text.size() / kCharsPerTick), status);
  matcher.reset(input);
  const bool same_places = state_->units.size() == text.size();
  Places places(text);
  std::optional<size_t> last_end;
  while (matcher.find(status)) {
    auto begin = static_cast<size_t>(matcher.start(status));
    auto end = static_cast<size_t>(matcher.end(status));
    if (!same_places) {
      begin = places.bytes_before(begin);
      end = places.bytes_before(end);
    }
    if (begin == end && last_end == begin) continue;
    last_end = end;
    matches.push_back({begin, end});
  }
  check_search(status, text.size());
}

}  // namespace heddle::text
