#include "heddle/text/segmenter.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

constexpr size_t kBytesPerToken = 16;  // no text has fewer tokens than a sixteenth of its bytes

UChar32 icu_point(const CodePoint& point) { return static_cast<UChar32>(point.value); }

/// Letters of scripts that put no space between words.
bool writes_no_spaces(char32_t value) {
  UErrorCode status = U_ZERO_ERROR;
  switch (uscript_getScript(static_cast<UChar32>(value), &status)) {
    case USCRIPT_HAN:
    case USCRIPT_HIRAGANA:
    case USCRIPT_KATAKANA:
    case USCRIPT_THAI:
    case USCRIPT_LAO:
    case USCRIPT_KHMER:
    case USCRIPT_MYANMAR:
      return true;
    default:  // the punctuation of CJK, and full-width forms
      return (value >= 0x3000 && value < 0x3040) || (value >= 0xFF00 && value < 0xFFF0);
  }
}

/// How good a place for a cut is the one behind `left` and before `right`.
int worth(char32_t left, char32_t right) {
  const auto before = static_cast<UChar32>(left);
  if (u_hasBinaryProperty(before, UCHAR_S_TERM) != 0) {
    return is_space(right) || writes_no_spaces(left) ? 5 : 1;
  }
  if (u_hasBinaryProperty(before, UCHAR_TERMINAL_PUNCTUATION) != 0) {
    return is_space(right) || writes_no_spaces(left) ? 4 : 1;
  }
  if (is_space(right)) return 3;
  if (writes_no_spaces(left) && writes_no_spaces(right)) return 2;
  const bool joins = u_getCombiningClass(static_cast<UChar32>(right)) != 0 ||
                     u_hasBinaryProperty(static_cast<UChar32>(right), UCHAR_GRAPHEME_EXTEND) != 0 ||
                     left == 0x200D || right == 0x200D;
  return joins ? 0 : 1;
}

bool has_letter_or_digit(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    if (u_isalnum(icu_point(point)) != 0) return true;
    i += static_cast<size_t>(point.bytes);
  }
  return false;
}

/// Takes the white space at the head off the text.
std::string take_spaces(std::string_view& text) {
  size_t end = 0;
  while (end < text.size()) {
    const CodePoint point = decode_utf8(text, end);
    if (!is_space(point.value)) break;
    end += static_cast<size_t>(point.bytes);
  }
  std::string spaces(text.substr(0, end));
  text.remove_prefix(end);
  return spaces;
}

size_t count_last_spaces(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const CodePoint last = last_code_point(text.substr(0, end));
    if (!is_space(last.value)) break;
    end -= static_cast<size_t>(last.bytes);
  }
  return text.size() - end;
}

/// The gap between what is written so far and the next translation.
std::string_view gap(const PreparedLine::Segment& segment, std::string_view written,
                     std::string_view next) {
  if (written.empty() || next.empty()) return segment.before;
  const char32_t left = last_code_point(written).value;
  const char32_t right = decode_utf8(next, 0).value;
  const bool without = writes_no_spaces(left) && writes_no_spaces(right);
  if (segment.may_touch && !without && !is_space(left) && !is_space(right)) return " ";
  if (segment.before == " " && without) return "";
  return segment.before;
}

}  // namespace

size_t find_cut(std::string_view text, size_t most) {
  const auto is_boundary = [&](size_t at) {
    return (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
  };
  size_t at = most / 2;
  while (at > 0 && !is_boundary(at)) --at;
  if (at == 0) at = static_cast<size_t>(decode_utf8(text, 0).bytes);
  size_t best = 0;
  int best_worth = -1;
  while (at < text.size() && (at <= most || best == 0)) {
    const CodePoint left = last_code_point(text.substr(0, at));
    const CodePoint right = decode_utf8(text, at);
    if (const int found = worth(left.value, right.value); found >= best_worth) {
      best = at;
      best_worth = found;
    }
    at += static_cast<size_t>(right.bytes);
  }
  return best == 0 ? text.size() : best;
}

std::string join(const PreparedLine& line, std::span<const std::string> translations) {
  HEDDLE_CHECK(translations.size() == line.segments.size(), "join: found ", translations.size(),
               " translations; expected ", line.segments.size(), ", one a segment");
  std::string text;
  for (size_t i = 0; i < translations.size(); ++i) {
    text += gap(line.segments[i], text, translations[i]);
    text += translations[i];
  }
  text += line.after;
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text;
}

Segmenter::Segmenter(const Tokenizer& tokenizer, SegmentOptions options)
    : tokenizer_(&tokenizer), options_(std::move(options)), splitter_(options_.language) {
  HEDDLE_CHECK(options_.longest > 0, "segmenter: found longest = 0; expected 1 or more tokens");
}

PreparedLine Segmenter::prepare(std::string_view line) {
  const std::string_view text = normalize_line(line, storage_, faults_);
  PreparedLine result;
  std::string_view rest = text;
  std::string before = take_spaces(rest);
  if (rest.empty() || (options_.copy_symbols && !has_letter_or_digit(rest))) {
    result.after = text;
    return result;
  }
  const size_t end = rest.size() - count_last_spaces(rest);
  result.after = rest.substr(end);
  rest = rest.substr(0, end);
  if (options_.split_sentences || !add_whole(rest, before, result)) {
    add_sentences(rest, std::move(before), result);
  }
  return result;
}

/// As one segment, if it is short enough; takes `before` only then.
bool Segmenter::add_whole(std::string_view text, std::string& before, PreparedLine& line) {
  if (text.size() > options_.longest * kBytesPerToken) return false;
  tokenizer_->encode(text, scratch_);
  if (scratch_.size() > options_.longest) return false;
  line.segments.push_back({std::move(before), false, scratch_});
  return true;
}

void Segmenter::add_sentences(std::string_view text, std::string before, PreparedLine& line) {
  splitter_.split(text, sentences_);
  size_t at = 0;
  for (const Span span : sentences_) {
    const bool touches = at > 0 && span.begin == at;
    before += text.substr(at, span.begin - at);
    const size_t first = line.segments.size();
    const std::string_view sentence = text.substr(span.begin, span.end - span.begin);
    if (!add_whole(sentence, before, line)) add_parts(sentence, std::move(before), line);
    line.segments[first].may_touch = touches;
    before.clear();
    at = span.end;
  }
}

/// Part after part of a sentence, each as long as the model takes.
void Segmenter::add_parts(std::string_view text, std::string before, PreparedLine& line) {
  bool may_touch = false;
  size_t guess = options_.longest * kBytesPerToken;
  while (!text.empty()) {
    const std::string_view part = take_part(text, guess);
    guess = std::min(part.size() + part.size() / 4, options_.longest * kBytesPerToken);
    line.segments.push_back({std::move(before), may_touch, scratch_});
    text.remove_prefix(part.size());
    before = take_spaces(text);
    may_touch = !text.empty() && before.empty() &&
                worth(last_code_point(part).value, decode_utf8(text, 0).value) >= 2;
  }
}

/// The longest part at the head of the text that has no more tokens than allowed, or nearly so; its
/// tokens are in scratch_. `guess`: bytes that may fit.
std::string_view Segmenter::take_part(std::string_view text, size_t guess) {
  size_t most = std::clamp<size_t>(guess, 1, text.size());
  for (;;) {
    const std::string_view part = text.substr(0, most < text.size() ? find_cut(text, most) : most);
    tokenizer_->encode(part, scratch_);
    if (scratch_.size() <= options_.longest) return part;
    if (static_cast<size_t>(decode_utf8(part, 0).bytes) == part.size()) {
      scratch_.resize(options_.longest);
      return part;
    }
    // By the bytes a token had here; always less than before.
    const size_t fitting = part.size() * options_.longest / scratch_.size();
    most = std::max<size_t>(1, std::min(fitting, part.size() - 1));
  }
}

}  // namespace heddle::text
