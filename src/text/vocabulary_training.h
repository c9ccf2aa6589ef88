// SentencePiece vocabularies made from text (Kudo & Richardson 2018), by libsentencepiece.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace heddle::text {

struct VocabularySettings {
  int64_t size = 8000;                 ///< pieces, special ones included
  std::string model_type = "unigram";  ///< or bpe
  double character_coverage = 0.9995;  ///< share of the text's characters that get pieces
  bool byte_fallback = false;          ///< characters without a piece become their bytes
  int64_t most_lines = 5'000'000;      ///< a random sample of so many; 0: all
  uint64_t seed = 1;                   ///< of the sample
};

/// Gives the next line of text; false at the end.
using NextLine = std::function<bool(std::string_view& line)>;

struct TrainedVocabulary {
  std::string model;   ///< the bytes of a .spm file: </s> is 0, <unk> 1, <pad> 2
  uint64_t lines = 0;  ///< read
  uint64_t sampled = 0;
};

/// Trains one vocabulary of all lines. The same lines and settings give the same bytes, on
/// any machine. Throws an Error when there is too little text for so many pieces.
TrainedVocabulary train_vocabulary(const NextLine& next, const VocabularySettings& settings);

}  // namespace heddle::text
