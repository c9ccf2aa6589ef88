// Sentence pairs as token ids, without ends of sentence: a view of memory that somebody else keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace heddle::data {

struct TokenPairs {
  std::span<const int32_t> tokens;    ///< source, target, source, target, …
  std::span<const uint64_t> offsets;  ///< [2N + 1] into tokens
  std::span<const float> weights;     ///< [N], or empty: 1 each

  uint64_t size() const { return offsets.empty() ? 0 : offsets.size() / 2; }  ///< N
  std::span<const int32_t> source(uint64_t pair) const { return text(2 * pair); }
  std::span<const int32_t> target(uint64_t pair) const { return text(2 * pair + 1); }
  float weight(uint64_t pair) const { return weights.empty() ? 1.0F : weights[pair]; }

 private:
  std::span<const int32_t> text(uint64_t index) const {
    return tokens.subspan(offsets[index], offsets[index + 1] - offsets[index]);
  }
};

}  // namespace heddle::data
