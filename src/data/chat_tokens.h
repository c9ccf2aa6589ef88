// From a conversation to token ids, each of which is learned or only read.
//
// A chat template is a function from turns to segments; here ends what is known of it. Segments say
// what is a control token and what is text, so that a text that spells "<|im_end|>" stays text.
// Text between control tokens is cut into tokens as one piece; where what is learned begins inside
// of it, the tokens before are those that the prompt alone has when the model answers.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/data/conversation_reader.h"
#include "heddle/text/bpe_tokenizer.h"
#include "heddle/text/chat_template.h"

namespace heddle::data {

using SegmentKind = text::ChatSegmentKind;
using Segment = text::ChatSegment;

/// A chat template, for training: nothing behind the last turn that asks for an answer.
using RenderTurns = std::function<std::vector<Segment>(std::span<const Turn>)>;

/// That of a template; throws when the tokenizer, which must outlive it, lacks a control token.
RenderTurns render_turns(const text::ChatTemplate& chat, const text::BpeTokenizer& tokenizer,
                         const std::string& date = {});

enum class TrainOn : uint8_t {
  automatic,   ///< completion for alpaca and prompt_completion, all for text, else assistant
  completion,  ///< what the assistant says behind the prompt; in a chat: the last answer
  assistant,   ///< every answer
  last,        ///< the last answer
  all,         ///< every token
};

/// Which ends of turns are learned: of learned turns, of the last of them, none, of all turns.
enum class TrainOnEos : uint8_t { turn, last, none, all };

/// What becomes of examples with more tokens than max_length.
enum class ExcessLength : uint8_t { drop, truncate, raise };

TrainOn train_on(std::string_view name);
TrainOnEos train_on_eos(std::string_view name);
ExcessLength excess_length_strategy(std::string_view name);

struct ChatTokenOptions {
  TrainOn train_on = TrainOn::automatic;
  TrainOnEos train_on_eos = TrainOnEos::turn;
  int64_t max_length = 4096;  ///< tokens of an example
  ExcessLength excess_length_strategy = ExcessLength::drop;
  bool split_special_tokens = true;  ///< false: raw text may spell control tokens
  bool skips_refused = false;        ///< what the template refuses is left out; otherwise an Error
};

/// T tokens.
struct TokenExample {
  std::vector<int32_t> tokens;   ///< [T]
  std::vector<uint8_t> learned;  ///< [T], 0 or 1; the first is never learned
};

enum class TokenOutcome : uint8_t { kept, truncated, too_long, nothing_learned, refused };

inline bool is_left_out(TokenOutcome outcome) {
  return outcome != TokenOutcome::kept && outcome != TokenOutcome::truncated;
}

/// Immutable: any number of threads may encode with it.
class ChatTokens {
 public:
  /// The tokenizer must outlive it. `render` may be empty where all conversations are raw.
  ChatTokens(const text::BpeTokenizer& tokenizer, RenderTurns render,
             const ChatTokenOptions& options);

  /// Replaces `example`, which is of use when the outcome is kept or truncated. `file` stands for
  /// the conversation's file in errors.
  TokenOutcome encode(const Conversation& conversation, std::string_view file,
                      TokenExample& example) const;

 private:
  std::vector<Segment> segments_of(const Conversation& conversation) const;
  TrainOn trained_on(const Conversation& conversation) const;
  std::vector<uint8_t> learned_turns(const Conversation& conversation) const;
  TokenOutcome fit(TokenExample& example, const std::string& where) const;

  const text::BpeTokenizer& tokenizer_;
  RenderTurns render_;
  ChatTokenOptions options_;
  std::vector<int32_t> begin_;  // of raw text
};

/// Counts what became of an example; when it is kept, adds its tokens to `stored` (see
/// token_examples.h) and returns true.
bool take_example(TokenOutcome outcome, const TokenExample& example, TokenCounts& counts,
                  std::vector<int32_t>& stored);

}  // namespace heddle::data
