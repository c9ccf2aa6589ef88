// Tokenised examples: a view of memory that somebody else keeps. Whether a token is learned is in
// its sign, so that one array says all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace heddle::data {

/// A token as it is stored: itself, or its complement when it is learned.
inline int32_t stored_token(int32_t id, bool learned) { return learned ? ~id : id; }
inline int32_t token_of(int32_t stored) { return stored < 0 ? ~stored : stored; }
inline bool is_learned(int32_t stored) { return stored < 0; }

struct TokenExamples {
  std::span<const int32_t> tokens;    ///< stored, one example behind another
  std::span<const uint64_t> offsets;  ///< [N + 1] into tokens

  uint64_t size() const { return offsets.empty() ? 0 : offsets.size() - 1; }  ///< N
  int64_t length(uint64_t example) const {
    return static_cast<int64_t>(offsets[example + 1] - offsets[example]);
  }
  std::span<const int32_t> example(uint64_t index) const {
    return tokens.subspan(offsets[index], offsets[index + 1] - offsets[index]);
  }
};

}  // namespace heddle::data
