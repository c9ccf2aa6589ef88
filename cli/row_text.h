// A packed row as text for people: what is learned, what is only read, where documents end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/data/row_packer.h"
#include "heddle/text/bpe_tokenizer.h"

namespace heddle::cli {

struct RowTextOptions {
  bool color = false;       ///< ANSI colours; else ⟦ ⟧ around what is learned
  int64_t most_tokens = 0;  ///< shown; 0: all
};

/// Documents under a line each that names it; `names` are those of the row's documents, [N].
std::string row_text(const data::PackedRow& row, const text::BpeTokenizer& tokenizer,
                     const std::vector<std::string>& names, const RowTextOptions& options);

}  // namespace heddle::cli
