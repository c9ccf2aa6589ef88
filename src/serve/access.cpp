#include "heddle/serve/access.h"

#include <algorithm>

namespace heddle::serve {

namespace {

/// "[::1]:5000" is "[::1]".
std::string name_of(std::string_view host) {
  const size_t bracket = host.rfind(']');
  const size_t colon = host.rfind(':');
  if (colon != host.npos && (bracket == host.npos || colon > bracket)) host = host.substr(0, colon);
  std::string name(host);
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return name;
}

}  // namespace

bool equal_in_constant_time(std::string_view given, std::string_view expected) {
  unsigned difference = given.size() == expected.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    const char other = i < expected.size() ? expected[i] : '\0';
    difference |= static_cast<unsigned char>(given[i] ^ other);
  }
  return difference == 0;
}

std::optional<size_t> find_key(const std::vector<std::string>& keys, std::string_view given) {
  std::optional<size_t> found;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (equal_in_constant_time(given, keys[i])) found = i;
  }
  return found;
}

bool is_loopback(std::string_view address) {
  return address.starts_with("127.") || address == "::1" || address == "localhost";
}

bool host_allowed(const ServerSettings& settings, std::string_view host) {
  if (!is_loopback(settings.host) && settings.host_names.empty()) return true;
  const std::string name = name_of(host);
  const auto same = [&name](const std::string& known) { return name_of(known) == name; };
  return name == "localhost" || name == "[::1]" || name == "127.0.0.1" || name == settings.host ||
         std::any_of(settings.host_names.begin(), settings.host_names.end(), same);
}

std::string allowed_origin(const ServerSettings& settings, std::string_view origin) {
  if (origin.empty()) return {};
  for (const std::string& allowed : settings.cors) {
    if (allowed == "*") return "*";
    if (allowed == origin) return allowed;
  }
  return {};
}

}  // namespace heddle::serve
