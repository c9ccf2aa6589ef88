#include "heddle/text/score/tokenization.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"
#include "heddle/text/score/words.h"

namespace heddle::text::score {

namespace {

constexpr std::pair<std::string_view, Tokenization> kNames[] = {
    {"none", Tokenization::none},
    {"13a", Tokenization::mteval13a},
    {"intl", Tokenization::international},
    {"char", Tokenization::character},
    {"zh", Tokenization::chinese}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// What stands alone always: ASCII marks and the space, but not ' , - and the full stop.
bool is_mark(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

bool is_stop(char c) { return c == '.' || c == ','; }

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

std::string with_marks_apart(std::string_view line) {
  std::string text;
  text.reserve(line.size() * 2);
  for (const char c : line) {
    if (is_mark(c)) {
      text += {' ', c, ' '};
    } else {
      text += c;
    }
  }
  return text;
}

/// Wherever first(a) and second(b) hold for neighbours: a, b with spaces as told; the search goes
/// on behind b, as that of a regular expression does.
template <typename First, typename Second>
std::string separate(std::string_view line, First first, Second second, bool before_first) {
  std::string text;
  text.reserve(line.size() * 2);
  for (size_t i = 0; i < line.size(); ++i) {
    if (i + 1 == line.size() || !first(line[i]) || !second(line[i + 1])) {
      text += line[i];
      continue;
    }
    if (before_first) {
      text += {' ', line[i], ' ', line[i + 1]};
    } else {
      text += {line[i], ' ', line[i + 1], ' '};
    }
    ++i;
  }
  return text;
}

/// The part that 13a and zh share.
std::string tokenize_western(std::string_view line) {
  const auto no_digit = [](char c) { return !is_digit(c); };
  std::string text = with_marks_apart(line);
  text = separate(text, no_digit, is_stop, false);
  text = separate(text, is_stop, no_digit, true);
  return separate(
      text, is_digit, [](char c) { return c == '-'; }, false);
}

std::string tokenize_13a(std::string_view line) {
  std::string text(line);
  replace_all(text, "<skipped>", "");
  replace_all(text, "-\n", "");
  replace_all(text, "\n", " ");
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");
  return tokenize_western(" " + text + " ");
}

bool has_category(char32_t value, uint32_t mask) {
  return (U_GET_GC_MASK(static_cast<UChar32>(value)) & mask) != 0;
}

/// separate() over code points.
template <typename First, typename Second>
std::u32string separate_points(std::u32string_view line, First first, Second second,
                               bool before_first) {
  std::u32string text;
  for (size_t i = 0; i < line.size(); ++i) {
    if (i + 1 == line.size() || !first(line[i]) || !second(line[i + 1])) {
      text += line[i];
      continue;
    }
    if (before_first) {
      text += {U' ', line[i], U' ', line[i + 1]};
    } else {
      text += {line[i], U' ', line[i + 1], U' '};
    }
    ++i;
  }
  return text;
}

std::string tokenize_international(std::string_view line) {
  const auto is_punctuation = [](char32_t c) { return has_category(c, U_GC_P_MASK); };
  const auto no_number = [](char32_t c) { return !has_category(c, U_GC_N_MASK); };
  std::u32string text = code_points(line);
  text = separate_points(text, no_number, is_punctuation, false);
  text = separate_points(text, is_punctuation, no_number, true);
  std::u32string result;
  for (const char32_t c : text) {
    if (has_category(c, U_GC_S_MASK)) {
      result += {U' ', c, U' '};
    } else {
      result += c;
    }
  }
  return to_utf8(result);
}

/// sacreBLEU's table. Two of its ranges were meant to lie above U+FFFF and are not written so; they
/// stand here as they work.
bool is_chinese(char32_t c) {
  constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0x3400, 0x4DB5}, {0x4E00, 0x9FA5}, {0x9FA6, 0x9FBB}, {0xF900, 0xFA2D}, {0xFA30, 0xFA6A},
      {0xFA70, 0xFAD9}, {0x2001, 0x2A6D}, {0x2F81, 0x2FA1}, {0xFF00, 0xFFEF}, {0x2E80, 0x2EFF},
      {0x3000, 0x303F}, {0x31C0, 0x31EF}, {0x2F00, 0x2FDF}, {0x2FF0, 0x2FFF}, {0x3100, 0x312F},
      {0x31A0, 0x31BF}, {0xFE10, 0xFE1F}, {0xFE30, 0xFE4F}, {0x2600, 0x26FF}, {0x2700, 0x27BF},
      {0x3200, 0x32FF}, {0x3300, 0x33FF}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [&](const auto& range) { return c >= range.first && c <= range.second; });
}

std::string tokenize_chinese(std::string_view line) {
  std::u32string text;
  for (const char32_t c : code_points(strip(line))) {
    if (is_chinese(c)) {
      text += {U' ', c, U' '};
    } else {
      text += c;
    }
  }
  return tokenize_western(to_utf8(text));
}

std::string tokenize_characters(std::string_view line) {
  std::u32string text;
  for (const char32_t c : code_points(line)) text += {c, U' '};
  return to_utf8(text);
}

}  // namespace

Tokenization tokenization_of(std::string_view name) {
  for (const auto& [known, tokenization] : kNames) {
    if (known == name) return tokenization;
  }
  HEDDLE_CHECK(false, "bleu: found the tokenization ", io::quoted(name),
               "; expected 13a, intl, char, zh or none");
  return Tokenization::none;
}

std::string_view name_of(Tokenization tokenization) {
  return std::find_if(std::begin(kNames), std::end(kNames),
                      [&](const auto& known) { return known.second == tokenization; })
      ->first;
}

std::string tokenize(std::string_view line, Tokenization tokenization) {
  switch (tokenization) {
    case Tokenization::none:
      return std::string(line);
    case Tokenization::mteval13a:
      return tokenize_13a(line);
    case Tokenization::international:
      return tokenize_international(line);
    case Tokenization::character:
      return tokenize_characters(line);
    case Tokenization::chinese:
      return tokenize_chinese(line);
  }
  return {};
}

}  // namespace heddle::text::score
