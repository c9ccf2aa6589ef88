// JSON by RFC 8259, without extensions: what is not JSON is refused with its line and column.
//
// Policy where the RFC leaves room: a key given twice in one object is refused, so are lone
// surrogates; integers beyond 64 bits become doubles, doubles beyond their range are refused; a
// byte order mark at the start is skipped. Depth, length of one token and memory are limited.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "heddle/io/value.h"

namespace heddle::io {

struct JsonLimits {
  size_t depth = 64;                 ///< lists and objects inside one another
  size_t token = size_t{4} << 20;    ///< bytes of one text or number
  size_t memory = size_t{48} << 20;  ///< bytes of the tree of values
};

/// Parses one document; `name` stands for the path in errors.
Value parse_json(std::string_view text, std::string_view name, const JsonLimits& limits = {});

/// Parses an object and hands over its members one after another, each freed before the next is
/// read: for objects with more members than should lie in memory. Keys given twice are for the
/// caller to find.
void parse_json_members(std::string_view text, std::string_view name,
                        const std::function<void(std::string key, Value value)>& take,
                        const JsonLimits& limits = {});

/// The value as JSON text: on one line, or with members on lines of their own, indented by
/// `indent` spaces. Throws for numbers that JSON cannot express.
std::string to_json(const Value& value, int indent = 0);

}  // namespace heddle::io
