// Characters and words as Python sees them, which is how sacreBLEU counts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace heddle::text::score {

/// What str.isspace() says of a code point.
bool is_python_space(char32_t value);

/// The code points of a text; U+FFFD for what is not UTF-8.
std::u32string code_points(std::string_view text);

std::string to_utf8(std::u32string_view text);

/// str.split(): the words between white space.
std::vector<std::string_view> split_words(std::string_view text);

/// str.rstrip() and str.strip(), of white space.
std::string_view strip_right(std::string_view text);
std::string_view strip(std::string_view text);

/// str.lower(), by Unicode's full rules.
std::string lower(std::string_view text);

}  // namespace heddle::text::score
