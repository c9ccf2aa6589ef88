// Reads text that may be compressed: what the first bytes say counts, not the name.
//
//   zstd, gzip   streamed; members one after another are one text; one that ends too early, bytes
//                that are no member behind the last, and damage are Errors
//   xz, bzip2, zip   refused by name
//   else         as it is
//
// Memory does not depend on how far a file blows up: a window of up to 128 MiB (zstd) is all.
#pragma once

#include <string>

#include "heddle/text/line_reader.h"

namespace heddle::data {

/// The text that `read` gives compressed; `name` stands for it in errors.
text::ReadBytes decompressed(text::ReadBytes read, std::string name);

}  // namespace heddle::data
