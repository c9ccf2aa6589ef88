// What a tokenizer.json of Hugging Face says, read and checked as a whole. Only byte-pair models
// (type BPE) are taken. A part that is not known is refused by its name rather than left out: a
// tokenizer that is nearly right is worse than none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/bpe_added.h"
#include "heddle/text/bpe_decode.h"
#include "heddle/text/bpe_model.h"
#include "heddle/text/bpe_normalize.h"
#include "heddle/text/bpe_split.h"

namespace heddle::text {

struct TokenizerJson {
  BpeVocabulary vocabulary;  // of the model; the pieces of added tokens are not among these …
  std::vector<AddedToken> added;  // … unless the model has them too, with the same id
  int32_t size = 0;               // one more than the largest id of both
  BpeNormalizer normalizer;
  BpeSplitter splitter;
  BpeDecoder decoder;
  std::vector<int32_t> before, after;  // what the post-processor puts around a text
};

/// Limits that no real file comes near.
inline constexpr size_t kMaxTokenizerBytes = size_t{128} << 20;
inline constexpr size_t kMaxBpePieces = 2'000'000;
inline constexpr size_t kMaxBpeMerges = 4'000'000;
inline constexpr size_t kMaxBpePieceBytes = 16'384;
inline constexpr size_t kMaxAddedTokens = 100'000;
inline constexpr size_t kMaxTokenizerSteps = 64;  // of one part, those inside sequences counted

/// Reads and checks a file; throws an Error that names the file (`name`), the field, what was found
/// and what was expected.
TokenizerJson parse_tokenizer_json(std::string_view text, std::string_view name);

/// The tokens that tokenizer_config.json names; an empty one is not named.
struct TokenizerConfig {
  std::string bos, eos, pad;
};

TokenizerConfig parse_tokenizer_config(std::string_view text, std::string_view name);

}  // namespace heddle::text
