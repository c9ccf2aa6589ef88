// A file of training text: opened, decompressed, and held to what it was when its hash was taken.
//
// A training run reads its text more than once, so a file must be a regular one, and one that
// another program changes, extends or replaces meanwhile is an Error at the end of the reading.
#pragma once

#include <cstdint>
#include <string>

#include "heddle/text/line_reader.h"

namespace heddle::data {

struct FileState {
  uint64_t size = 0;
  uint64_t hash = 0;  ///< of the bytes as they lie, compressed or not
  bool operator==(const FileState&) const = default;
};

/// Reads the whole file.
FileState state_of_file(const std::string& path);

/// The text of the file. When its end is reached, throws if the bytes were not those of `expected`.
text::ReadBytes open_text(const std::string& path, const FileState& expected);

}  // namespace heddle::data
