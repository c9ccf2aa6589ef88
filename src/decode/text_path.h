// The way of a line from text to the pieces that are decoded, and back.
#pragma once

#include <functional>

#include "heddle/decode/line_pool.h"
#include "heddle/decode/statistics.h"
#include "heddle/decode/translator.h"
#include "heddle/text/segmenter.h"
#include "heddle/text/tokenizer.h"

namespace heddle::decode {

/// What all text paths of a translator share.
struct TextSettings {
  const text::Tokenizer* source = nullptr;  ///< both outlive the path
  const text::Tokenizer* target = nullptr;
  text::SegmentOptions segments{};
  int32_t end = 0;          ///< the token behind every target …
  bool ends_source = true;  ///< … and behind every source
};

/// One for each thread.
class TextPath {
 public:
  explicit TextPath(const TextSettings& settings);

  /// Fills the line's pieces; none for a line without anything to translate.
  void prepare(Line& line, Statistics& statistics);

  /// Puts the translations of all pieces together.
  Translation finish(const Line& line, const Options& options, Statistics& statistics) const;

 private:
  Variant variant(const Line& line, size_t rank, const Options& options) const;

  TextSettings settings_;
  text::Segmenter segmenter_;
};

/// Words separated by white space.
int64_t count_words(std::string_view text);

}  // namespace heddle::decode
