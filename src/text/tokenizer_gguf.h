// The tokenizer in a GGUF file's metadata, as the tokenizer.json that says the same.
//
//   tokenizer.ggml.model  llama: pieces with scores, which SentencePiece merges by; gpt2: bytes
//   with
//                         merges, cut into words as tokenizer.ggml.pre says
//
// A score becomes ranks: a merge is every way to cut a piece into two others, the highest score
// first. What is not known is refused by name.
#pragma once

#include <string>

#include "heddle/io/gguf.h"
#include "heddle/text/bpe_tokenizer.h"

namespace heddle::text {

/// tokenizer.json and tokenizer_config.json.
struct GgufTokenizer {
  std::string json, config;
};

/// Throws when the file has no tokenizer, or one that does not fit together.
GgufTokenizer read_gguf_tokenizer(const io::GgufFile& file);

/// The tokenizer of a GGUF file, or of the model that it is a part of.
BpeTokenizer load_gguf_tokenizer(const std::string& path);

}  // namespace heddle::text
