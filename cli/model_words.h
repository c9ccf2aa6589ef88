// Models in words, for people.
#pragma once

#include <string>

#include "heddle/model/parameters.h"

namespace heddle::cli {

/// "Transformer, 6 encoder + 2 decoder (SSRU) layers, d 256, …" on one or two lines.
std::string architecture_words(const model::TransformerConfig& config);

/// "16,886,272 parameters, 16.3 MiB (i8 16.1 MiB, f32 0.2 MiB)".
std::string model_size_words(const model::ModelFiles& model);

}  // namespace heddle::cli
