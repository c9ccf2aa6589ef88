#include "heddle/serve/form.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/text/utf8.h"

namespace heddle::serve {

namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string unescaped(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      plain += ' ';
    } else if (text[i] != '%') {
      plain += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        refuse(400, "bad_form", "found a % without two hexadecimal digits; expected %XX");
      }
      plain += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  if (!text::is_valid_utf8(plain)) {
    refuse(400, "bad_form", "found bytes that are not UTF-8; expected UTF-8");
  }
  return plain;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> parse_form(std::string_view body, size_t most) {
  std::vector<std::pair<std::string, std::string>> fields;
  while (!body.empty()) {
    const size_t end = std::min(body.find('&'), body.size());
    const std::string_view field = body.substr(0, end);
    body.remove_prefix(std::min(end + 1, body.size()));
    if (field.empty()) continue;
    if (fields.size() == most) {
      refuse(400, "bad_form", str("found more than ", most, " fields; expected fewer"));
    }
    const size_t equals = std::min(field.find('='), field.size());
    fields.emplace_back(unescaped(field.substr(0, equals)),
                        unescaped(field.substr(std::min(equals + 1, field.size()))));
  }
  return fields;
}

}  // namespace heddle::serve
