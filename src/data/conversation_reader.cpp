#include "heddle/data/conversation_reader.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/text/utf8.h"

namespace heddle::data {

namespace {

bool is_only_space(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

/// A conversation teaches nothing when it has no text or no answer.
bool teaches_nothing(const Conversation& conversation) {
  return std::none_of(conversation.turns.begin(), conversation.turns.end(), [](const Turn& turn) {
    return turn.role == Role::assistant && !is_only_space(turn.text);
  });
}

uint64_t replace_nul(Conversation& conversation) {
  uint64_t found = 0;
  for (Turn& turn : conversation.turns) {
    const auto count = std::count(turn.text.begin(), turn.text.end(), '\0');
    if (count == 0) continue;
    std::string whole;
    text::append_replaced(whole, turn.text, std::string_view("\0", 1), text::kReplacementUtf8);
    turn.text = std::move(whole);
    found += static_cast<uint64_t>(count);
  }
  return found;
}

}  // namespace

void ConversationCounts::add(const TokenCounts& counts) {
  tokens.too_many_tokens += counts.too_many_tokens;
  tokens.nothing_learned += counts.nothing_learned;
  tokens.truncated += counts.truncated;
  tokens.tokens += counts.tokens;
  tokens.learned += counts.learned;
  kept -= counts.too_many_tokens + counts.nothing_learned;
}

std::vector<std::string> ConversationCounts::warnings() const {
  std::vector<std::string> found;
  if (kept * 2 < lines - blank_lines) {
    found.push_back("more is left out than kept: " + summary());
  }
  if (tokens.truncated * 10 > kept) {
    found.push_back(str(tokens.truncated, " of ", kept,
                        " examples are cut at the longest length; those that end without their "
                        "end of turn do not teach the model to stop"));
  }
  if (kept > 0 && tokens.learned * 50 < tokens.tokens) {
    found.push_back(
        str("only ", tokens.learned, " of ", tokens.tokens, " tokens are learned; see train_on"));
  }
  return found;
}

std::string ConversationCounts::summary() const {
  std::string text = str(lines, " lines, ", kept, " kept");
  const auto say = [&text](uint64_t count, std::string_view what) {
    if (count > 0) text += str(", ", count, " ", what);
  };
  say(blank_lines, "empty lines");
  say(empty, "left out without text or answer");
  say(too_long_lines, "left out as too many bytes");
  say(not_json, "left out as no JSON");
  say(wrong_fields, "left out for their fields");
  say(unsupported, "left out for tools or content parts");
  say(tokens.too_many_tokens, "left out as too many tokens");
  say(tokens.nothing_learned, "left out without a learned token");
  say(tokens.truncated, "cut at the longest length");
  say(not_utf8, "faults of UTF-8 replaced");
  say(nul, "NUL replaced");
  return text;
}

ConversationReader::ConversationReader(text::ReadBytes read, std::string name,
                                       const ConversationOptions& options)
    : lines_(std::move(read), name, options.longest_line),
      name_(std::move(name)),
      options_(options) {}

bool ConversationReader::next(Conversation& conversation) {
  while (lines_.next(line_)) {
    ++counts_.lines;
    if (!lines_.skipped() && is_only_space(line_)) {
      ++counts_.blank_lines;
      continue;
    }
    if (!parse_line(conversation)) continue;
    conversation.line = lines_.lines();
    counts_.nul += replace_nul(conversation);
    if (teaches_nothing(conversation)) {
      ++counts_.empty;
      continue;
    }
    ++counts_.kept;
    return true;
  }
  return false;
}

bool ConversationReader::parse_line(Conversation& conversation) {
  const std::string where = str("data: ", name_, ": line ", lines_.lines());
  uint64_t* fault = &counts_.too_long_lines;
  try {
    HEDDLE_CHECK(!lines_.skipped(), where, ": found more than ", options_.longest_line,
                 " bytes; expected a JSON object. Hint: on_bad_line=skip leaves such lines out");
    fault = &counts_.not_json;
    if (!text::is_valid_utf8(line_)) {
      std::string repaired;
      counts_.not_utf8 += text::append_repaired(repaired, line_);
      line_ = std::move(repaired);
    }
    const io::JsonLimits limits{.token = 3 * options_.longest_line,
                                .memory = 16 * options_.longest_line};
    const io::Value value = io::parse_json(line_, where, limits);
    fault = &counts_.wrong_fields;
    const io::Field object(value, where);
    if (options_.format == DatasetFormat::automatic) options_.format = recognised_format(object);
    conversation = parse_conversation(object, options_.format);
    return true;
  } catch (const UnsupportedContent&) {
    if (options_.on_bad_line == OnBadLine::raise) throw;
    ++counts_.unsupported;
  } catch (const Error&) {
    if (options_.on_bad_line == OnBadLine::raise) throw;
    ++*fault;
  }
  return false;
}

ConversationReader open_conversations(const std::string& path, const FileState& state,
                                      const ConversationOptions& options) {
  return ConversationReader(open_text(path, state), path, options);
}

}  // namespace heddle::data
