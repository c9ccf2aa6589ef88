// Numbers and texts as people and JSON readers want them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace heddle::cli {

/// 1048576 → "1,048,576".
std::string with_separators(int64_t value);

/// 4194304 → "4.0 MiB".
std::string bytes_text(double bytes);

/// 0.1234 → "12.3 %"; what is not quite nothing or everything does not read like it: "< 0.1 %".
std::string percent_text(double share);

/// 0.0123 → "12.3 ms".
std::string seconds_text(double seconds);

/// How often `small` fits into `large`, for a table: "2,730 x".
std::string times_text(double large, double small);

/// A JSON string with its quotes.
std::string json_string(std::string_view text);

/// A JSON number.
std::string json_number(double value);

/// Pads on the left or right to a width in columns of a terminal; a UTF-8 character counts as one.
std::string right_aligned(std::string_view text, size_t width);
std::string left_aligned(std::string_view text, size_t width);

}  // namespace heddle::cli
