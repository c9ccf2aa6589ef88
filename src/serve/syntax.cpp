#include "heddle/serve/syntax.h"

#include <algorithm>

namespace heddle::serve {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_hex(char c) { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f'); }

}  // namespace

bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool equal_names(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return text;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_letter(c) || is_digit(c) ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_header_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c == '\t' || (c >= 0x20 && c != 0x7f); });
}

bool is_host(std::string_view host) {
  const size_t bracket = host.starts_with('[') ? host.find(']') : std::string_view::npos;
  const size_t end = bracket != host.npos ? bracket + 1 : std::min(host.find(':'), host.size());
  const std::string_view name = host.substr(0, end), port = host.substr(end);
  const std::string_view more = bracket != host.npos ? "[]:." : "-._~";
  const auto fits = [more](char c) {
    return is_letter(c) || is_digit(c) || more.find(c) != more.npos;
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), fits) &&
         (port.empty() || (port[0] == ':' && std::all_of(port.begin() + 1, port.end(), is_digit)));
}

bool is_path(std::string_view target) {
  if (!target.starts_with('/')) return false;
  for (size_t i = 0; i < target.size(); ++i) {
    const auto byte = static_cast<unsigned char>(target[i]);
    if (byte <= 0x20 || byte >= 0x7f) return false;
    if (target[i] != '%') continue;
    const std::string_view digits = target.substr(i + 1, 2);
    if (digits.size() < 2 || !is_hex(digits[0]) || !is_hex(digits[1]) || digits == "00")
      return false;
  }
  return true;
}

bool are_header_lines(std::string_view lines) {
  constexpr std::string_view kEnd("\0\0", 2);
  if (!lines.starts_with(kEnd)) return false;
  lines.remove_prefix(2);
  while (lines != kEnd) {
    const size_t colon = lines.find('\0');
    if (colon == lines.npos || !is_token(lines.substr(0, colon))) return false;
    lines.remove_prefix(colon + 1);
    const size_t end = lines.find('\0');
    if (end == lines.npos || !lines.substr(end).starts_with(kEnd)) return false;
    lines.remove_prefix(end + 2);
  }
  return true;
}

}  // namespace heddle::serve
