// The loaders of single formats, for formats.cpp.
#pragma once

#include <string>

#include "heddle/io/source.h"
#include "heddle/model/parameters.h"

namespace heddle::model {

/// Whether the file starts as a CTranslate2 model.bin, of any version.
bool is_ctranslate2(const io::Source& source);

/// A directory with model.bin, config.json and vocabularies.
ModelFiles load_ctranslate2(const std::string& directory);

/// A directory with config.json and model.safetensors (or its shards): ours or Hugging Face's.
ModelFiles load_safetensors_folder(const std::string& directory);

/// A language model in a GGUF file, or all parts of one that is split.
ModelFiles load_gguf(const std::string& path);

}  // namespace heddle::model
