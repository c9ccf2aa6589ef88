// What the targets of text share: the input as bytes that arrive little by little.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "heddle/text/line_reader.h"

namespace heddle::fuzz {

/// At most `step` bytes at a time.
inline text::ReadBytes reader_of(std::string_view bytes, size_t step) {
  return [=, at = size_t{0}](char* target, size_t room) mutable {
    const size_t count = std::min({bytes.size() - at, room, step});
    bytes.copy(target, count, at);
    at += count;
    return count;
  };
}

}  // namespace heddle::fuzz
