// The counts of a cache of pairs in their order in the file; not for other modules.
#pragma once

#include <array>
#include <cstdint>

#include "heddle/data/corpus.h"
#include "heddle/data/token_file.h"

namespace heddle::data {

inline std::array<uint64_t*, 13> fields_of(CorpusCounts& counts) {
  return {&counts.lines,           &counts.kept,         &counts.too_long_lines,
          &counts.empty_both,      &counts.empty_source, &counts.empty_target,
          &counts.too_many_tokens, &counts.identical,    &counts.faults.not_utf8,
          &counts.faults.controls, &counts.blocks,       &counts.suspicious,
          &counts.suspicious_line};
}

inline constexpr TokenFileShape kPairShape{.lists = 2, .counts = 13};

}  // namespace heddle::data
