#include "heddle/data/chat_tokens.h"

#include <algorithm>
#include <array>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/data/token_examples.h"
#include "heddle/io/quoted.h"

namespace heddle::data {

namespace {

template <typename Enum, size_t N>
Enum named(std::string_view key, std::string_view name,
           const std::array<std::pair<const char*, Enum>, N>& known) {
  std::string expected;
  for (const auto& [each, value] : known) {
    if (name == each) return value;
    expected += str(expected.empty() ? "" : ", ", each);
  }
  detail::throw_error(str(key, ": found ", io::quoted(name), "; expected one of ", expected));
}

/// A stretch of text, or control tokens, that is learned as a whole or not at all.
struct Stretch {
  std::string text;
  bool control = false;
  bool learned = false;
};

/// Neighbours that are alike become one, so that their border is none for the tokenizer.
void add_stretch(std::vector<Stretch>& stretches, const std::string& text, bool control,
                 bool learned) {
  if (text.empty()) return;
  if (!stretches.empty() && stretches.back().control == control &&
      stretches.back().learned == learned) {
    stretches.back().text += text;
  } else {
    stretches.push_back({text, control, learned});
  }
}

class StretchEncoder {
 public:
  StretchEncoder(const text::BpeTokenizer& tokenizer, TokenExample& example)
      : tokenizer_(tokenizer), example_(example) {}

  void encode(std::span<const Stretch> stretches) {
    for (size_t i = 0; i < stretches.size(); ++i) {
      const Stretch& stretch = stretches[i];
      const bool goes_on = i > 0 && !stretch.control && !stretches[i - 1].control;
      if (!goes_on || !encode_behind(stretches[i - 1], stretch, i == 1)) {
        encode_alone(stretch, i == 0);
      }
    }
  }

 private:
  void encode_alone(const Stretch& stretch, bool starts) {
    tokenizer_.encode(stretch.text, ids_, {.allow_special = stretch.control, .continues = !starts});
    add(ids_, stretch.learned);
  }

  /// The tokens that both stretches have together, less those of the first. False when a token
  /// would reach over the border: then the second stretch begins anew, as an answer does.
  bool encode_behind(const Stretch& before, const Stretch& stretch, bool starts) {
    const text::BpeEncodeOptions plain{.allow_special = false, .continues = !starts};
    tokenizer_.encode(before.text, before_, plain);
    tokenizer_.encode(before.text + stretch.text, ids_, plain);
    if (before_.size() > ids_.size() || !std::equal(before_.begin(), before_.end(), ids_.begin())) {
      return false;
    }
    add(std::span(ids_).subspan(before_.size()), stretch.learned);
    return true;
  }

  void add(std::span<const int32_t> ids, bool learned) {
    example_.tokens.insert(example_.tokens.end(), ids.begin(), ids.end());
    example_.learned.insert(example_.learned.end(), ids.size(), learned ? 1 : 0);
  }

  const text::BpeTokenizer& tokenizer_;
  TokenExample& example_;
  std::vector<int32_t> ids_, before_;
};

}  // namespace

TrainOn train_on(std::string_view name) {
  constexpr std::array<std::pair<const char*, TrainOn>, 5> kKnown{{
      {"auto", TrainOn::automatic},
      {"completion", TrainOn::completion},
      {"assistant", TrainOn::assistant},
      {"last", TrainOn::last},
      {"all", TrainOn::all},
  }};
  return named("train_on", name, kKnown);
}

TrainOnEos train_on_eos(std::string_view name) {
  constexpr std::array<std::pair<const char*, TrainOnEos>, 4> kKnown{{
      {"turn", TrainOnEos::turn},
      {"last", TrainOnEos::last},
      {"none", TrainOnEos::none},
      {"all", TrainOnEos::all},
  }};
  return named("train_on_eos", name, kKnown);
}

ExcessLength excess_length_strategy(std::string_view name) {
  constexpr std::array<std::pair<const char*, ExcessLength>, 3> kKnown{{
      {"drop", ExcessLength::drop},
      {"truncate", ExcessLength::truncate},
      {"raise", ExcessLength::raise},
  }};
  return named("excess_length_strategy", name, kKnown);
}

RenderTurns render_turns(const text::ChatTemplate& chat, const text::BpeTokenizer& tokenizer,
                         const std::string& date) {
  chat.check(tokenizer);
  return [chat, tokens = text::chat_tokens_of(tokenizer, date)](std::span<const Turn> turns) {
    std::vector<text::ChatMessage> messages;
    for (const Turn& turn : turns) {
      messages.push_back({text::role_named(name_of(turn.role)), turn.text});
    }
    return chat.segments(messages, tokens, {.generation_prompt = false});
  };
}

ChatTokens::ChatTokens(const text::BpeTokenizer& tokenizer, RenderTurns render,
                       const ChatTokenOptions& options)
    : tokenizer_(tokenizer), render_(std::move(render)), options_(options) {
  HEDDLE_CHECK(options_.max_length >= 2 && options_.max_length < INT32_MAX, "max_length: found ",
               options_.max_length, "; expected 2 … 2^31 - 2 tokens");
  const std::vector<int32_t> around = tokenizer_.encode("", {.add_special_tokens = true});
  if (tokenizer_.bos() >= 0 && !around.empty() && around.front() == tokenizer_.bos()) {
    begin_ = {tokenizer_.bos()};
  }
}

std::vector<Segment> ChatTokens::segments_of(const Conversation& conversation) const {
  if (!conversation.raw) {
    HEDDLE_CHECK(static_cast<bool>(render_),
                 "found turns, and no chat template; expected one. Hint: name one with template");
    return render_(conversation.turns);
  }
  const SegmentKind kind =
      options_.split_special_tokens ? SegmentKind::content : SegmentKind::control;
  std::vector<Segment> segments;
  for (size_t i = 0; i < conversation.turns.size(); ++i) {
    segments.push_back({kind, conversation.turns[i].text, static_cast<int32_t>(i)});
  }
  return segments;
}

TrainOn ChatTokens::trained_on(const Conversation& conversation) const {
  if (options_.train_on != TrainOn::automatic) return options_.train_on;
  switch (conversation.format) {
    case DatasetFormat::text:
      return TrainOn::all;
    case DatasetFormat::alpaca:
    case DatasetFormat::prompt_completion:
      return TrainOn::completion;
    default:
      return TrainOn::assistant;
  }
}

std::vector<uint8_t> ChatTokens::learned_turns(const Conversation& conversation) const {
  const std::vector<Turn>& turns = conversation.turns;
  const TrainOn which = trained_on(conversation);
  if (which == TrainOn::all) return std::vector<uint8_t>(turns.size(), 1);
  std::vector<uint8_t> learned(turns.size(), 0);
  const size_t first = which == TrainOn::completion ? conversation.prompt_turns : 0;
  for (size_t i = turns.size(); i > first; --i) {
    if (turns[i - 1].role != Role::assistant) continue;
    learned[i - 1] = 1;
    if (which == TrainOn::last) break;
  }
  return learned;
}

TokenOutcome ChatTokens::encode(const Conversation& conversation, std::string_view file,
                                TokenExample& example) const {
  const std::string where = str("data: ", file, ": line ", conversation.line);
  std::vector<Segment> segments;
  try {
    segments = segments_of(conversation);
  } catch (const Error& error) {
    if (options_.skips_refused && render_) return TokenOutcome::refused;
    detail::throw_error(str(where, ": ", error.what()));
  }
  const std::vector<uint8_t> turns = learned_turns(conversation);
  const bool everything = trained_on(conversation) == TrainOn::all;
  const auto last = std::find(turns.rbegin(), turns.rend(), 1);
  const auto last_turn = static_cast<int32_t>(turns.rend() - last) - 1;
  const auto learns = [&](const Segment& segment) {
    const bool turn = segment.turn >= 0 && turns[static_cast<size_t>(segment.turn)] != 0;
    if (segment.kind != SegmentKind::end) return segment.turn < 0 ? everything : turn;
    switch (options_.train_on_eos) {
      case TrainOnEos::turn:
        return turn;
      case TrainOnEos::last:
        return turn && segment.turn == last_turn;
      case TrainOnEos::none:
        return false;
      case TrainOnEos::all:
        return true;
    }
    return false;
  };

  std::vector<Stretch> stretches;
  for (const Segment& segment : segments) {
    HEDDLE_CHECK(segment.turn < std::ssize(turns), where, ": the template gives a segment of turn ",
                 segment.turn, "; expected fewer than ", turns.size());
    const bool control = segment.kind == SegmentKind::control || segment.kind == SegmentKind::end;
    add_stretch(stretches, segment.text, control, learns(segment));
  }
  example.tokens = conversation.raw ? begin_ : std::vector<int32_t>{};
  example.learned.assign(example.tokens.size(), 0);
  StretchEncoder(tokenizer_, example).encode(stretches);
  if (conversation.raw && tokenizer_.eos() >= 0) {
    example.tokens.push_back(tokenizer_.eos());
    example.learned.push_back(options_.train_on_eos == TrainOnEos::none ? 0 : 1);
  }
  return fit(example, where);
}

TokenOutcome ChatTokens::fit(TokenExample& example, const std::string& where) const {
  const auto longest = static_cast<size_t>(options_.max_length);
  const size_t found = example.tokens.size();
  if (found > longest) {
    HEDDLE_CHECK(options_.excess_length_strategy != ExcessLength::raise, where, ": found ", found,
                 " tokens; expected at most ", longest,
                 ". Hint: raise max_length, or let excess_length_strategy be drop or truncate");
    if (options_.excess_length_strategy == ExcessLength::drop) return TokenOutcome::too_long;
    example.tokens.resize(longest);
    example.learned.resize(longest);
  }
  if (!example.learned.empty()) example.learned.front() = 0;  // nothing stands before it
  const bool learns =
      std::find(example.learned.begin(), example.learned.end(), 1) != example.learned.end();
  if (!learns) return TokenOutcome::nothing_learned;
  return found > longest ? TokenOutcome::truncated : TokenOutcome::kept;
}

bool take_example(TokenOutcome outcome, const TokenExample& example, TokenCounts& counts,
                  std::vector<int32_t>& stored) {
  switch (outcome) {
    case TokenOutcome::too_long:
      ++counts.too_many_tokens;
      return false;
    case TokenOutcome::nothing_learned:
      ++counts.nothing_learned;
      return false;
    case TokenOutcome::refused:
      ++counts.refused;
      return false;
    case TokenOutcome::truncated:
      ++counts.truncated;
      break;
    case TokenOutcome::kept:
      break;
  }
  for (size_t i = 0; i < example.tokens.size(); ++i) {
    const bool learned = example.learned[i] != 0;
    stored.push_back(stored_token(example.tokens[i], learned));
    counts.learned += learned ? 1 : 0;
  }
  counts.tokens += example.tokens.size();
  return true;
}

}  // namespace heddle::data
