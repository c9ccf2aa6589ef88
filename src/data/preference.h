// A question and answers that somebody has ranked, and the forms that a line of jsonl may have:
//
//   {"prompt": …, "chosen": …, "rejected": …}    one answer each, or lists of answers
//   {"chosen": […], "rejected": […]}             whole conversations: the turns that both begin
//                                                with are the prompt (TRL's implicit prompt)
//   {"prompt": …, "answers": […], "scores": […]} the higher the better; or "ranks", 1 the best;
//                                                "responses" is another name of answers
//
// A prompt is a text or a list of messages, and may be called "messages" or "conversations" then;
// an answer is a text, a message, or a list of messages. Texts behind a text follow it without a
// template; texts behind messages are what the assistant says. "margin" may say by how much a
// reward model should tell the answers apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/data/object_lines.h"

namespace heddle::data {

inline constexpr size_t kMostAnswers = 64;  ///< to one question

/// K answers to one question.
struct Preference {
  std::vector<Turn> prompt;
  std::vector<std::vector<Turn>> answers;  ///< [K]
  std::vector<float> scores;               ///< [K]: the higher the better, equal ones are ties
  float margin = 0;                        ///< between rewards of two answers
  bool raw = false;                        ///< texts without a template
  uint64_t line = 0;                       ///< of its file, from 1
};

/// The preference of one line; throws an Error, or UnsupportedContent, that names the field.
/// Without `needs_ranks`, answers may stand without scores and ranks: all have the score 0.
Preference parse_preference(const io::Field& object, bool needs_ranks = true);

/// What became of lines of preferences. `lines.kept` counts questions.
struct PreferenceCounts {
  ConversationCounts lines;     ///< `empty`: prompts without text
  uint64_t contradictions = 0;  ///< questions left out: one answer with two scores
  uint64_t no_pair = 0;         ///< questions left out: no two answers of different scores
  uint64_t empty_answers = 0, equal_answers = 0;  ///< answers left out
  uint64_t answers = 0, pairs = 0;  ///< of questions kept; pairs have different scores
  uint64_t repeated = 0;            ///< questions that stand before each of their answers

  std::string summary() const;
  std::vector<std::string> warnings() const;
};

/// Takes out answers without text and equal ones; false, and counted, when what is left teaches
/// nothing.
bool clean(Preference& preference, PreferenceCounts& counts);

/// Pairs of answers with different scores.
uint64_t pairs_of(const std::vector<float>& scores);

/// The preferences of one file that teach something, in their order.
class PreferenceReader {
 public:
  /// Reads bytes as they come; `name` stands for the file in errors. The format of the options is
  /// not looked at.
  PreferenceReader(text::ReadBytes read, std::string name, const ConversationOptions& options = {})
      : lines_(std::move(read), std::move(name), options) {}

  bool next(Preference& preference);
  const PreferenceCounts& counts() const { return counts_; }

 private:
  ObjectLines lines_;
  PreferenceCounts counts_;
};

}  // namespace heddle::data
