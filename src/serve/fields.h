// The members of a JSON object from outside. Errors name fields that are expected, and nothing that
// was sent.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/io/value.h"
#include "heddle/serve/refused.h"
#include "heddle/serve/settings.h"

namespace heddle::serve {

/// Parses a body; throws Refused (400) with the offset at which it ceases to be JSON.
io::Value parse_body(std::string_view body, const Limits& limits);

class Fields {
 public:
  /// Throws Refused (422) unless the value is an object with these members alone.
  Fields(const io::Value& value, std::string place, std::initializer_list<std::string_view> known);

  const io::Value* find(std::string_view key) const { return value_.find(key); }

  // What the member holds, or what stands in for it when it is absent. Throw Refused (422).
  int64_t integer(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const;
  double number(std::string_view key, double otherwise, double low, double high) const;
  bool boolean(std::string_view key, bool otherwise) const;
  std::string text(std::string_view key) const;

  /// A text or a list of texts, which must be there.
  std::vector<std::string> texts(std::string_view key, bool& is_list) const;

  [[noreturn]] void fail(std::string_view key, std::string_view expected) const;

 private:
  const io::Value& value_;
  std::string place_;
};

/// A text without NUL; throws Refused (400).
const std::string& checked_text(const std::string& text);

}  // namespace heddle::serve
