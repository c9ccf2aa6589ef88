// Multisets of n-grams. An n-gram is a key of 128 bits that holds all of it, so that nothing is
// ever taken for something else.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace heddle::text::score {

/// Up to four 32-bit numbers, or up to six of 21 bits.
struct Ngram {
  uint64_t high = 0, low = 0;
  auto operator<=>(const Ngram&) const = default;
};

struct NgramCount {
  Ngram ngram;
  int64_t count = 0;
};

/// Sorted by n-gram, each once.
using Ngrams = std::vector<NgramCount>;

/// The n-grams of symbols of `bits` bits each, where n * bits <= 128 and no symbol spans both
/// words.
inline Ngrams count_ngrams(std::span<const uint32_t> symbols, size_t n, unsigned bits) {
  if (symbols.size() < n) return {};
  const size_t in_low = std::min<size_t>(n, 64 / bits);
  std::vector<Ngram> all(symbols.size() - n + 1);
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t k = 0; k < n; ++k) {
      uint64_t& word = k < in_low ? all[i].low : all[i].high;
      word = word << bits | symbols[i + k];
    }
  }
  std::sort(all.begin(), all.end());
  Ngrams counts;
  for (const Ngram& ngram : all) {
    if (counts.empty() || counts.back().ngram != ngram) counts.push_back({ngram, 0});
    ++counts.back().count;
  }
  return counts;
}

/// Calls use(left, right) for all n-grams of both, with 0 where one has none.
template <typename Use>
void for_each_pair(const Ngrams& left, const Ngrams& right, Use use) {
  size_t i = 0, j = 0;
  while (i < left.size() || j < right.size()) {
    const bool take_left =
        j == right.size() || (i < left.size() && left[i].ngram <= right[j].ngram);
    const bool take_right =
        i == left.size() || (j < right.size() && right[j].ngram <= left[i].ngram);
    const Ngram ngram = take_left ? left[i].ngram : right[j].ngram;
    use(ngram, take_left ? left[i].count : 0, take_right ? right[j].count : 0);
    i += take_left;
    j += take_right;
  }
}

/// How many n-grams both have.
inline int64_t count_matches(const Ngrams& left, const Ngrams& right) {
  int64_t matches = 0;
  for_each_pair(left, right,
                [&](const Ngram&, int64_t a, int64_t b) { matches += std::min(a, b); });
  return matches;
}

inline int64_t count_all(const Ngrams& ngrams) {
  int64_t total = 0;
  for (const NgramCount& entry : ngrams) total += entry.count;
  return total;
}

/// Numbers words, the same word with the same number. The words must outlive it.
class WordNumbers {
 public:
  std::vector<uint32_t> of(std::span<const std::string_view> words) {
    std::vector<uint32_t> numbers;
    numbers.reserve(words.size());
    for (const std::string_view word : words) {
      numbers.push_back(numbers_.emplace(word, numbers_.size() + 1).first->second);
    }
    return numbers;
  }

 private:
  std::unordered_map<std::string_view, uint32_t> numbers_;
};

}  // namespace heddle::text::score
