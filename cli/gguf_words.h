// GGUF files in words and in JSON, for `heddle inspect`.
#pragma once

#include <string>

#include "heddle/io/gguf.h"

namespace heddle::cli {

/// Version, architecture and types of the tensors, then the keys with type and value, a line each.
std::string gguf_words(const io::GgufModel& model);

/// The metadata as one JSON object; an array is its type and count.
std::string gguf_json(const io::GgufModel& model);

}  // namespace heddle::cli
