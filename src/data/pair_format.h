// The three forms that sentence pairs come in, read line by line:
//
//   two files    line i of one is the translation of line i of the other
//   TSV          two columns of a table; every line has as many columns as the first
//   jsonl        {"source": "…", "target": "…"} a line, or {"translation": {"en": "…", "de": "…"}}
//                with the fields "translation.en" and "translation.de"
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "heddle/text/line_reader.h"

namespace heddle::data {

/// Where pairs are read from: `pairs`, or `source` and `target`. Names that end in .jsonl (.zst,
/// .gz) are jsonl, others TSV.
struct CorpusFiles {
  std::string pairs;
  std::string source, target;
  int source_column = 0, target_column = 1;
  int weight_column = -1;  ///< −1: every pair weighs 1
  std::string source_field = "source", target_field = "target";
  std::string weight_field;  ///< empty: every pair weighs 1
};

struct RawPair {
  std::string_view source, target;  ///< valid until the next pair
  float weight = 1;
  uint64_t line = 0;      ///< from 1
  bool too_long = false;  ///< a line was beyond the limit; the texts are empty
};

class RawPairs {
 public:
  virtual ~RawPairs() = default;

  /// The next pair, false at the end. Throws an Error that names file and line.
  virtual bool next(RawPair& pair) = 0;
};

/// Whether a file of this name holds jsonl, compressed or not.
bool is_jsonl(std::string_view name);

/// One for each file: `second` is read for two files only.
std::unique_ptr<RawPairs> read_pairs(const CorpusFiles& files, size_t longest_line,
                                     text::ReadBytes first, text::ReadBytes second);

}  // namespace heddle::data
