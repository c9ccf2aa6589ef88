// From a preference to the tokens of its group. Each answer is tokenised behind the prompt as a
// conversation of fine-tuning is (chat_tokens.h), so that a shared question changes no token:
// tokens before what is learned are those of the prompt alone, whatever follows.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "heddle/data/chat_tokens.h"
#include "heddle/data/preference.h"
#include "heddle/data/preference_groups.h"

namespace heddle::data {

struct PreferenceTokenOptions {
  ChatTokenOptions tokens;  ///< max_length holds for the question with one answer; what is learned
                            ///< is each answer
  int64_t row_length = 0;   ///< a group with more tokens does not fit into a row; 0: any does
  int64_t window = 0;       ///< of the model's sliding layers, 0: none. A question is not shared by
                            ///< longer texts: the keys that a token sees there depend on the answer
  bool share = true;        ///< false: no question is shared
};

/// A group as it is stored.
struct TokenGroup {
  PreferenceGroup shape;
  std::vector<int32_t> stored;
};

class PreferenceTokens {
 public:
  PreferenceTokens(const text::BpeTokenizer& tokenizer, RenderTurns render,
                   const PreferenceTokenOptions& options);

  /// Replaces `group`, which is of use when the outcome is kept or truncated. An answer that is too
  /// long decides for its whole group.
  TokenOutcome encode(const Preference& preference, std::string_view file, TokenGroup& group) const;

 private:
  ChatTokens tokens_;
  PreferenceTokenOptions options_;
};

}  // namespace heddle::data
