// YAML as configuration files use it, read into the same tree as JSON.
//
// Plain scalars are typed by YAML 1.2's core schema (null, true/false, integers, numbers, else
// text); quoted ones are text. Refused: aliases (a few lines of them can stand for gigabytes),
// a key given twice, keys that are not scalars, more than one document, depth beyond 64.
#pragma once

#include <string_view>

#include "heddle/io/value.h"

namespace heddle::io {

/// Longest YAML document that is read, bytes.
inline constexpr size_t kLongestYaml = size_t{256} << 10;

/// Parses one document; `name` stands for the path in errors. An empty document is null.
Value parse_yaml(std::string_view text, std::string_view name);

}  // namespace heddle::io
