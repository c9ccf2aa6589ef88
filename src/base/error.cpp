#include "heddle/base/error.h"

#include <charconv>

namespace heddle::detail {

namespace {

template <typename Number>
void append_number(std::string& text, Number number) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  text.append(digits, end);
}

}  // namespace

void append(std::string& text, std::string_view part) { text.append(part); }
void append(std::string& text, char part) { text.push_back(part); }
void append(std::string& text, bool part) { text.append(part ? "true" : "false"); }
void append(std::string& text, int64_t part) { append_number(text, part); }
void append(std::string& text, uint64_t part) { append_number(text, part); }
void append(std::string& text, double part) { append_number(text, part); }

void throw_error(const std::string& text) { throw Error(text); }

}  // namespace heddle::detail
