// What reading and writing of a token cache share; not for other modules.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "heddle/data/corpus.h"

namespace heddle::data {

inline constexpr std::string_view kTokenFileHead = "HEDDLTOK", kTokenFileEnd = "HEDDLEND";
inline constexpr uint64_t kTokenFileVersion = 1;  ///< part of the key
inline constexpr size_t kTokenFileFoot = 5 * 8;   ///< bytes

inline constexpr size_t kCounts = 13;

inline std::array<uint64_t*, kCounts> fields_of(CorpusCounts& counts) {
  return {&counts.lines,           &counts.kept,         &counts.too_long_lines,
          &counts.empty_both,      &counts.empty_source, &counts.empty_target,
          &counts.too_many_tokens, &counts.identical,    &counts.faults.not_utf8,
          &counts.faults.controls, &counts.blocks,       &counts.suspicious,
          &counts.suspicious_line};
}

}  // namespace heddle::data
