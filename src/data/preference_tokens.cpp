#include "heddle/data/preference_tokens.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/data/token_examples.h"

namespace heddle::data {

namespace {

ChatTokenOptions answers_alone(ChatTokenOptions options) {
  options.train_on = TrainOn::completion;
  if (options.train_on_eos == TrainOnEos::all) options.train_on_eos = TrainOnEos::turn;
  return options;
}

size_t first_learned(const TokenExample& example) {
  const auto first = std::find(example.learned.begin(), example.learned.end(), 1);
  return static_cast<size_t>(first - example.learned.begin());
}

void add_stored(const TokenExample& example, size_t begin, std::vector<int32_t>& stored) {
  for (size_t t = begin; t < example.tokens.size(); ++t) {
    stored.push_back(stored_token(example.tokens[t], example.learned[t] != 0));
  }
}

}  // namespace

PreferenceTokens::PreferenceTokens(const text::BpeTokenizer& tokenizer, RenderTurns render,
                                   const PreferenceTokenOptions& options)
    : tokens_(tokenizer, std::move(render), answers_alone(options.tokens)), options_(options) {}

TokenOutcome PreferenceTokens::encode(const Preference& preference, std::string_view file,
                                      TokenGroup& group) const {
  const std::string where = str("data: ", file, ": line ", preference.line);
  group = {.shape = {.question = 0,
                     .answers{},
                     .scores = preference.scores,
                     .margin = preference.margin,
                     .shared = true},
           .stored{}};
  TokenOutcome outcome = TokenOutcome::kept;
  std::vector<TokenExample> texts(preference.answers.size());
  Conversation text{.turns{},
                    .prompt_turns = preference.prompt.size(),
                    .raw = preference.raw,
                    .format = DatasetFormat::prompt_completion,
                    .line = preference.line};
  size_t question = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    text.turns = preference.prompt;
    text.turns.insert(text.turns.end(), preference.answers[i].begin(), preference.answers[i].end());
    const TokenOutcome each = tokens_.encode(text, file, texts[i]);
    if (is_left_out(each)) return each;
    if (each == TokenOutcome::truncated) outcome = each;
    const size_t length = first_learned(texts[i]);
    if (i == 0) question = length;
    const auto end = texts[0].tokens.begin() + static_cast<int64_t>(question);
    HEDDLE_CHECK(
        length == question && std::equal(texts[0].tokens.begin(), end, texts[i].tokens.begin()),
        where, ": answer ", i + 1, " changes the tokens of its question; expected the ",
        "template to render a prompt alike whatever follows it");
    group.shape.answers.push_back(static_cast<int32_t>(texts[i].tokens.size() - question));
  }
  group.shape.question = static_cast<int32_t>(question);
  group.shape.shared =
      options_.share && (options_.window == 0 || group.shape.longest() <= options_.window);
  for (size_t i = 0; i < texts.size(); ++i) {
    add_stored(texts[i], i == 0 || !group.shape.shared ? 0 : question, group.stored);
  }
  const auto found = static_cast<int64_t>(group.stored.size());
  if (options_.row_length == 0 || found <= options_.row_length) return outcome;
  HEDDLE_CHECK(options_.tokens.excess_length_strategy != ExcessLength::raise, where, ": found ",
               found, " tokens in a question with its ", texts.size(),
               " answers; expected at most ", options_.row_length,
               ". Hint: raise packing_length, or excess_length_strategy: drop");
  return TokenOutcome::too_long;  // a group is not cut
}

}  // namespace heddle::data
