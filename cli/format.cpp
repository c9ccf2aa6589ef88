#include "cli/format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "heddle/base/error.h"

namespace heddle::cli {

namespace {

/// One decimal below 100, none above: three to four digits of every number.
std::string short_number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, value < 99.95 ? "%.1f" : "%.0f", value);
  return text;
}

size_t columns_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string spaces_to(std::string_view text, size_t width) {
  return std::string(width - std::min(width, columns_of(text)), ' ');
}

/// Bytes of the UTF-8 character at the front, or 0 when they are none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
  if (byte(0) < 0x80) return 1;
  const size_t length = byte(0) >= 0xc2 && byte(0) < 0xe0   ? 2
                        : byte(0) >= 0xe0 && byte(0) < 0xf0 ? 3
                        : byte(0) >= 0xf0 && byte(0) < 0xf5 ? 4
                                                            : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
  const bool beyond = (byte(0) == 0xed && byte(1) >= 0xa0) || (byte(0) == 0xf4 && byte(1) >= 0x90);
  return overlong || beyond ? 0 : length;
}

}  // namespace

std::string with_separators(int64_t value) {
  std::string digits = str(value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string bytes_text(double bytes) {
  constexpr std::array<const char*, 7> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  while (bytes >= 1023.5 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  if (unit == 0) return str(static_cast<int64_t>(bytes), " B");
  return short_number(bytes) + " " + kUnits[unit];
}

std::string percent_text(double share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  if (share < 1 && share > 0.9995) return "> 99.9 %";
  return short_number(100 * share) + " %";
}

std::string seconds_text(double seconds) {
  if (seconds < 1e-3) return short_number(seconds * 1e6) + " µs";
  if (seconds < 1) return short_number(seconds * 1e3) + " ms";
  return short_number(seconds) + " s";
}

std::string times_text(double large, double small) {
  if (small <= 0) return "-";
  const double times = large / small;
  return (times < 100 ? short_number(times)
                      : with_separators(static_cast<int64_t>(std::min(times, 1e18)))) +
         " x";
}

std::string json_string(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "\"";
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text.front());
    const size_t length = character_length(text);
    if (length == 0) {
      result += "\\ufffd";  // file names may hold any bytes, JSON may not
    } else if (byte == '"' || byte == '\\') {
      result += {'\\', text.front()};
    } else if (byte < 0x20 || byte == 0x7f) {
      result += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return result + "\"";
}

std::string json_number(double value) {
  HEDDLE_CHECK(std::isfinite(value), "json: found ", value, "; expected a finite number");
  return str(value);
}

std::string right_aligned(std::string_view text, size_t width) {
  return spaces_to(text, width) + std::string(text);
}

std::string left_aligned(std::string_view text, size_t width) {
  return std::string(text) + spaces_to(text, width);
}

}  // namespace heddle::cli
