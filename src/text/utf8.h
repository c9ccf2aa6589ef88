// UTF-8, one code point at a time. What is not UTF-8 is measured as Unicode recommends
// (section 3.9, "maximal subparts"): the longest start of a valid sequence counts as one fault, any
// other byte too.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace heddle::text {

/// A part of a text: [begin, end) in bytes.
struct Span {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const Span&) const = default;
};

inline constexpr char32_t kReplacement = 0xFFFD;
inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

/// What stands at the head of a text: its value (kReplacement where it is not UTF-8) and its
/// length.
struct CodePoint {
  char32_t value = 0;
  int bytes = 0;
  bool valid = true;
};

/// The code point at text[offset]; needs offset < text.size().
CodePoint decode_utf8(std::string_view text, size_t offset);

/// The code point that the text ends with; needs one.
CodePoint last_code_point(std::string_view text);

/// Whether Unicode calls it white space.
bool is_space(char32_t value);

void append_utf8(std::string& text, char32_t value);

/// Adds the text with `other` in each place of `part`, which is not empty.
void append_replaced(std::string& target, std::string_view text, std::string_view part,
                     std::string_view other);

bool is_valid_utf8(std::string_view text);

/// Adds the bytes with every fault replaced by U+FFFD; returns the number of faults.
size_t append_repaired(std::string& text, std::string_view bytes);

/// The number of code points; each fault counts as one.
size_t count_code_points(std::string_view text);

}  // namespace heddle::text
