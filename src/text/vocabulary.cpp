#include "heddle/text/vocabulary.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <unordered_set>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/quoted.h"
#include "heddle/text/sentencepiece_model.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

using Entry = std::pair<std::string, int64_t>;

std::vector<Entry> entries_of_list(const io::Value::List& list, std::string_view name) {
  std::vector<Entry> entries;
  entries.reserve(list.size());
  for (const io::Value& item : list) {
    const auto id = static_cast<int64_t>(entries.size());
    HEDDLE_CHECK(item.text() != nullptr, "vocabulary: ", name, ": item ", id, ": found ",
                 item.description(), "; expected a piece");
    entries.emplace_back(*item.text(), id);
  }
  return entries;
}

std::vector<Entry> entries_of_lines(std::string_view text, std::string_view name) {
  std::vector<Entry> entries;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    entries.emplace_back(text.substr(0, end), static_cast<int64_t>(entries.size()));
    text.remove_prefix(std::min(end + 1, text.size()));
    HEDDLE_CHECK(entries.size() <= kMaxPieces, "vocabulary: ", name, ": found more than ",
                 kMaxPieces, " pieces");
  }
  return entries;
}

std::vector<Entry> entries_of_json(std::string_view text, std::string_view name) {
  const io::Value value = io::parse_json(text, name, {.depth = 4, .memory = size_t{256} << 20});
  if (value.list() != nullptr) return entries_of_list(*value.list(), name);
  HEDDLE_CHECK(value.map() != nullptr, "vocabulary: ", name, ": found ", value.description(),
               "; expected an object of pieces and their ids, or a list of pieces");
  std::vector<Entry> entries;
  entries.reserve(value.map()->size());
  for (const auto& member : *value.map()) {
    HEDDLE_CHECK(member.value.integer() != nullptr, "vocabulary: ", name, ": ",
                 io::quoted(member.key), ": found ", member.value.description(),
                 "; expected an id");
    entries.emplace_back(member.key, *member.value.integer());
  }
  return entries;
}

/// One line of a Marian vocabulary: a scalar (plain, 'single' or "double" quoted), a colon, a
/// number. YAML as a whole is not needed and would take seconds for a vocabulary of usual size.
class YamlLine {
 public:
  YamlLine(std::string_view line, std::string_view name, size_t number)
      : line_(line), name_(name), number_(number) {}

  Entry parse() {
    std::string piece;
    if (line_[0] == '"') {
      piece = double_quoted();
    } else if (line_[0] == '\'') {
      piece = single_quoted();
    } else {
      const size_t colon = line_.rfind(": ");
      check(colon != line_.npos && colon > 0, "piece: id");
      piece = line_.substr(0, colon);
      while (!piece.empty() && piece.back() == ' ') piece.pop_back();
      at_ = colon;
    }
    skip_spaces();
    check(at_ < line_.size() && line_[at_] == ':', "a colon after the piece");
    ++at_;
    skip_spaces();
    int64_t id = 0;
    const char* end = line_.data() + line_.size();
    const auto [rest, error] = std::from_chars(line_.data() + at_, end, id);
    check(error == std::errc{} && rest == end, "an id after the colon");
    return {std::move(piece), id};
  }

 private:
  void check(bool condition, std::string_view expected) const {
    HEDDLE_CHECK(condition, "vocabulary: ", name_, ": line ", number_, ": found ",
                 io::quoted(line_), "; expected ", expected);
  }

  void skip_spaces() {
    while (at_ < line_.size() && line_[at_] == ' ') ++at_;
  }

  std::string single_quoted() {
    std::string piece;
    for (at_ = 1; at_ < line_.size(); ++at_) {
      if (line_[at_] == '\'') {
        if (at_ + 1 >= line_.size() || line_[at_ + 1] != '\'') {
          ++at_;
          return piece;
        }
        ++at_;
      }
      piece += line_[at_];
    }
    check(false, "a closing quote");
    return piece;
  }

  std::string double_quoted() {
    std::string piece;
    for (at_ = 1; at_ < line_.size(); ++at_) {
      if (line_[at_] == '"') {
        ++at_;
        return piece;
      }
      if (line_[at_] == '\\') {
        escape(piece);
      } else {
        piece += line_[at_];
      }
    }
    check(false, "a closing quote");
    return piece;
  }

  /// at_ stands on the backslash, and on the last character of the escape afterwards.
  void escape(std::string& piece) {
    constexpr std::string_view kNames = "\"\\/0abtnvfre";
    constexpr std::string_view kValues{"\"\\/\0\a\b\t\n\v\f\r\x1b", 12};
    ++at_;
    check(at_ < line_.size(), "a character after the backslash");
    const char kind = line_[at_];
    if (const size_t known = kNames.find(kind); known != kNames.npos) {
      piece += kValues[known];
      return;
    }
    if (kind == '_') return append_utf8(piece, 0xA0);
    if (kind == 'N') return append_utf8(piece, 0x85);
    if (kind == 'L') return append_utf8(piece, 0x2028);
    if (kind == 'P') return append_utf8(piece, 0x2029);
    const int digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    check(digits > 0, "an escape that YAML knows");
    char32_t value = hexadecimal(digits);
    if (value >= 0xD800 && value < 0xDC00 && line_.substr(at_ + 1).starts_with("\\u")) {
      at_ += 2;
      const char32_t low = hexadecimal(4);
      check(low >= 0xDC00 && low < 0xE000, "the second half of a surrogate pair");
      value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
    }
    check(value < 0x110000 && (value < 0xD800 || value >= 0xE000), "a Unicode character");
    append_utf8(piece, value);
  }

  char32_t hexadecimal(int digits) {
    uint32_t value = 0;
    const std::string_view text = line_.substr(at_ + 1, static_cast<size_t>(digits));
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value, 16);
    check(error == std::errc{} && rest == end && text.size() == static_cast<size_t>(digits),
          "hexadecimal digits");
    at_ += static_cast<size_t>(digits);
    return value;
  }

  std::string_view line_, name_;
  size_t number_;
  size_t at_ = 0;
};

std::vector<Entry> entries_of_yaml(std::string_view text, std::string_view name) {
  std::vector<Entry> entries;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    while (line.ends_with('\r') || line.ends_with(' ')) line.remove_suffix(1);
    if (line.empty() || line[0] == '#' || line == "---" || line.starts_with("%YAML")) continue;
    entries.push_back(YamlLine(line, name, number).parse());
    HEDDLE_CHECK(entries.size() <= kMaxPieces, "vocabulary: ", name, ": found more than ",
                 kMaxPieces, " pieces");
  }
  return entries;
}

}  // namespace

std::vector<std::string> parse_vocabulary(std::string_view text, std::string_view name) {
  HEDDLE_CHECK(is_valid_utf8(text), "vocabulary: ", name, ": found bytes that are not UTF-8");
  const size_t start = text.find_first_not_of(" \t\r\n");
  const bool is_json = start != text.npos && (text[start] == '{' || text[start] == '[');
  std::vector<Entry> entries = name.ends_with(".txt") ? entries_of_lines(text, name)
                               : is_json              ? entries_of_json(text, name)
                                                      : entries_of_yaml(text, name);
  HEDDLE_CHECK(!entries.empty() && entries.size() <= kMaxPieces, "vocabulary: ", name, ": found ",
               entries.size(), " pieces; expected 1 to ", kMaxPieces);
  std::vector<std::string> pieces(entries.size());
  std::vector<bool> given(entries.size());
  std::unordered_set<std::string_view> seen;
  seen.reserve(entries.size());
  for (auto& [piece, id] : entries) {
    HEDDLE_CHECK(!piece.empty() && piece.size() <= kMaxPieceBytes, "vocabulary: ", name, ": id ",
                 id, ": found a piece of ", piece.size(), " bytes; expected 1 to ", kMaxPieceBytes);
    HEDDLE_CHECK(seen.insert(piece).second, "vocabulary: ", name, ": found the piece ",
                 io::quoted(piece), " twice");
    HEDDLE_CHECK(id >= 0 && id < static_cast<int64_t>(pieces.size()), "vocabulary: ", name,
                 ": piece ", io::quoted(piece), ": found id ", id, "; expected 0 to ",
                 pieces.size() - 1, ", as there are ", pieces.size(), " pieces");
    const auto at = static_cast<size_t>(id);
    HEDDLE_CHECK(!given[at], "vocabulary: ", name, ": found id ", id, " twice");
    given[at] = true;
    pieces[at] = piece;
  }
  return pieces;
}

}  // namespace heddle::text
