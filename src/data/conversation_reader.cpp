#include "heddle/data/conversation_reader.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::data {

namespace {

/// A conversation teaches nothing when it has no text or no answer.
bool teaches_nothing(const Conversation& conversation) {
  return std::none_of(conversation.turns.begin(), conversation.turns.end(), [](const Turn& turn) {
    return turn.role == Role::assistant && !is_only_space(turn.text);
  });
}

}  // namespace

ConversationReader::ConversationReader(text::ReadBytes read, std::string name,
                                       const ConversationOptions& options)
    : lines_(std::move(read), std::move(name), options), options_(options) {}

bool ConversationReader::next(Conversation& conversation) {
  const auto parse = [&](const io::Field& object) {
    if (options_.format == DatasetFormat::automatic) options_.format = recognised_format(object);
    conversation = parse_conversation(object, options_.format);
  };
  while (lines_.next(parse, counts_)) {
    conversation.line = lines_.line();
    for (Turn& turn : conversation.turns) counts_.nul += replace_nul(turn.text);
    if (teaches_nothing(conversation)) {
      ++counts_.empty;
      continue;
    }
    ++counts_.kept;
    return true;
  }
  return false;
}

ConversationReader open_conversations(const std::string& path, const FileState& state,
                                      const ConversationOptions& options) {
  return ConversationReader(open_text(path, state), path, options);
}

}  // namespace heddle::data
