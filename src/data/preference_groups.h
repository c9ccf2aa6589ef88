// Tokenised preferences: a view of memory that somebody else keeps. A group is a question and its K
// answers, as two lists:
//
//   shape   K, 1 when the question stands before each answer, margin, question's length,
//           K lengths of answers, K scores; numbers that are no counts by their bits
//   tokens  the question once, then the answers; or the question before each of them. Stored as in
//           token_examples.h: the first token of an answer is always learned, none of a question is
//
// The model reads both forms with the same result; sharing costs a question only once.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "heddle/data/token_examples.h"

namespace heddle::data {

struct PreferenceGroup {
  int32_t question = 0;          ///< tokens
  std::vector<int32_t> answers;  ///< [K], tokens
  std::vector<float> scores;     ///< [K]
  float margin = 0;
  bool shared = true;  ///< false: the question stands before each answer

  /// Of the longest text: the question with one answer.
  int64_t longest() const {
    int32_t most = 0;
    for (const int32_t answer : answers) most = answer > most ? answer : most;
    return int64_t{question} + most;
  }
  bool operator==(const PreferenceGroup&) const = default;
};

struct PreferenceGroups {
  std::span<const int32_t> tokens;    ///< both lists of each group, one behind another
  std::span<const uint64_t> offsets;  ///< [2N + 1] into tokens

  uint64_t size() const { return offsets.empty() ? 0 : (offsets.size() - 1) / 2; }  ///< N
  int64_t length(uint64_t group) const {  ///< tokens in a row
    return static_cast<int64_t>(offsets[2 * group + 2] - offsets[2 * group + 1]);
  }
  std::span<const int32_t> stored(uint64_t group) const { return list(2 * group + 1); }
  PreferenceGroup group(uint64_t index) const {
    const std::span<const int32_t> shape = list(2 * index);
    const auto count = static_cast<size_t>(shape[0]);
    PreferenceGroup made{.question = shape[3],
                         .answers{shape.begin() + 4, shape.begin() + 4 + shape[0]},
                         .scores{},
                         .margin = std::bit_cast<float>(shape[2]),
                         .shared = shape[1] == 0};
    for (const int32_t score : shape.subspan(4 + count, count)) {
      made.scores.push_back(std::bit_cast<float>(score));
    }
    return made;
  }

  /// Groups [first, first + count).
  PreferenceGroups part(uint64_t first, uint64_t count) const {
    return {tokens, offsets.subspan(2 * first, 2 * count + 1)};
  }

  std::span<const int32_t> list(uint64_t index) const {
    return tokens.subspan(offsets[index], offsets[index + 1] - offsets[index]);
  }
};

/// The list `shape` of a group.
inline std::vector<int32_t> shape_of(const PreferenceGroup& group) {
  std::vector<int32_t> shape{static_cast<int32_t>(group.answers.size()), group.shared ? 0 : 1,
                             std::bit_cast<int32_t>(group.margin), group.question};
  shape.insert(shape.end(), group.answers.begin(), group.answers.end());
  for (const float score : group.scores) shape.push_back(std::bit_cast<int32_t>(score));
  return shape;
}

}  // namespace heddle::data
