#include "heddle/text/sentences.h"

#include <unicode/brkiter.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>

#include <string>

#include "heddle/base/error.h"
#include "heddle/text/abbreviations.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

/// Without white space at either end.
Span trimmed(std::string_view text, Span span) {
  while (span.begin < span.end) {
    const CodePoint first = decode_utf8(text, span.begin);
    if (!is_space(first.value)) break;
    span.begin += static_cast<size_t>(first.bytes);
  }
  while (span.begin < span.end) {
    const CodePoint last = last_code_point(text.substr(span.begin, span.end - span.begin));
    if (!is_space(last.value)) break;
    span.end -= static_cast<size_t>(last.bytes);
  }
  return span;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Text in which nothing but the end can end a sentence: ASCII with no . ? ! before a space.
bool is_plainly_one(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x80) return false;
    if (c == '.' || c == '?' || c == '!') {
      // ICU lets quotes and brackets stand between the stop and the space.
      const size_t next = text.find_first_not_of(".?!\"')]}", i);
      if (next != text.npos && (text[next] == ' ' || text[next] == '\t')) {
        if (text.find_first_not_of(" \t", next) != text.npos) return false;
      }
      if (next == text.npos) return true;
      i = next - 1;
      if (static_cast<unsigned char>(text[next]) >= 0x80) return false;
    }
  }
  return true;
}

/// The last word before a final full stop: "Dr" of "Hello Dr.", "z.B" of "(z.B."; empty when the
/// sentence does not end in one.
std::string_view last_word(std::string_view sentence) {
  if (!sentence.ends_with('.')) return {};
  sentence.remove_suffix(1);
  const size_t before = sentence.find_last_of(" \t([{\"'");
  return before == sentence.npos ? sentence : sentence.substr(before + 1);
}

bool is_number(std::string_view word, size_t most_digits) {
  return !word.empty() && word.size() <= most_digits &&
         word.find_first_not_of("0123456789") == word.npos;
}

/// "J" or "Ä": one letter, capital.
bool is_initial(std::string_view word) {
  if (word.empty()) return false;
  const CodePoint point = decode_utf8(word, 0);
  return static_cast<size_t>(point.bytes) == word.size() &&
         u_isupper(static_cast<UChar32>(point.value)) != 0;
}

/// Whether the text from `left` goes on in `right`, although Unicode's rules see an end between
/// them.
bool goes_on(std::string_view left, std::string_view right, std::string_view language) {
  const CodePoint next = decode_utf8(right, 0);
  if (u_islower(static_cast<UChar32>(next.value))) return true;  // "Really?" she asked
  const std::string_view word = last_word(left);
  if (word.empty()) return false;
  if (word.size() + 1 == left.size() && is_number(word, 3)) return true;  // "1." of a list
  if (is_initial(word)) return true;
  if (has_dotted_ordinals(language) && is_number(word, 2)) {
    return u_isalpha(static_cast<UChar32>(next.value)) != 0;
  }
  switch (abbreviation_of(word, language)) {
    case Abbreviation::always:
      return true;
    case Abbreviation::before_number:
      return is_digit(right[0]);
    case Abbreviation::none:
      return false;
  }
  return false;
}

}  // namespace

struct SentenceSplitter::State {
  std::string language;  // "en" of "en-GB"
  std::unique_ptr<icu::BreakIterator> iterator;
};

SentenceSplitter::SentenceSplitter(std::string_view language) : state_(std::make_unique<State>()) {
  std::string name(language.substr(0, 32));
  for (char& c : name) c = c == '-' ? '_' : c;
  state_->language = name.substr(0, name.find('_'));
  UErrorCode status = U_ZERO_ERROR;
  state_->iterator.reset(
      icu::BreakIterator::createSentenceInstance(icu::Locale(name.c_str()), status));
  HEDDLE_CHECK(U_SUCCESS(status) && state_->iterator, "sentences: no rules for '", name,
               "': ", u_errorName(status));
}

SentenceSplitter::SentenceSplitter(SentenceSplitter&&) noexcept = default;
SentenceSplitter& SentenceSplitter::operator=(SentenceSplitter&&) noexcept = default;
SentenceSplitter::~SentenceSplitter() = default;

void SentenceSplitter::split(std::string_view text, std::vector<Span>& sentences) {
  sentences.clear();
  const auto add = [&](Span span) {
    span = trimmed(text, span);
    if (span.begin == span.end) return;
    if (!sentences.empty()) {
      Span& last = sentences.back();
      if (goes_on(text.substr(last.begin, last.end - last.begin),
                  text.substr(span.begin, span.end - span.begin), state_->language)) {
        last.end = span.end;
        return;
      }
    }
    sentences.push_back(span);
  };
  if (is_plainly_one(text)) {
    add({0, text.size()});
    return;
  }
  UErrorCode status = U_ZERO_ERROR;
  UText view = UTEXT_INITIALIZER;
  utext_openUTF8(&view, text.data(), static_cast<int64_t>(text.size()), &status);
  state_->iterator->setText(&view, status);
  HEDDLE_CHECK(U_SUCCESS(status), "sentences: cannot read a text of ", text.size(),
               " bytes: ", u_errorName(status));
  size_t begin = 0;
  for (int32_t end = state_->iterator->next(); end != icu::BreakIterator::DONE;
       end = state_->iterator->next()) {
    add({begin, static_cast<size_t>(end)});
    begin = static_cast<size_t>(end);
  }
  utext_close(&view);
}

std::vector<Span> split_sentences(std::string_view text, std::string_view language) {
  std::vector<Span> sentences;
  SentenceSplitter(language).split(text, sentences);
  return sentences;
}

}  // namespace heddle::text
