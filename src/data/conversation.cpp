#include "heddle/data/conversation.h"

#include <algorithm>
#include <array>
#include <utility>

#include "heddle/io/quoted.h"

namespace heddle::data {

namespace {

constexpr std::array kDatasetFormats{
    std::pair{DatasetFormat::automatic, "auto"},
    std::pair{DatasetFormat::messages, "messages"},
    std::pair{DatasetFormat::sharegpt, "sharegpt"},
    std::pair{DatasetFormat::alpaca, "alpaca"},
    std::pair{DatasetFormat::prompt_completion, "prompt_completion"},
    std::pair{DatasetFormat::text, "text"},
};

constexpr std::array kRoleNames{
    std::pair{"system", Role::system}, std::pair{"user", Role::user},
    std::pair{"human", Role::user},    std::pair{"assistant", Role::assistant},
    std::pair{"gpt", Role::assistant},
};

/// Roles of calls of tools, in the words of both formats.
constexpr std::array kToolRoles{"tool", "function", "function_call", "observation", "ipython"};

[[noreturn]] void refuse_content(const io::Field& field, std::string_view what) {
  throw UnsupportedContent(str(field.place(), ": found ", what,
                               "; expected turns of text alone. Hint: on_bad_line=skip leaves such "
                               "lines out and counts them"));
}

/// Refuses what would change the meaning of the turns if it were left out.
void refuse_members(const io::Field& object, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto member = object.find(name);
    if (!member) continue;
    const io::Value::List* list = member->value().list();
    const std::string* text = member->value().text();
    if ((list != nullptr && list->empty()) || (text != nullptr && text->empty())) continue;
    refuse_content(*member, str("the member ", name));
  }
}

Role role_of(const io::Field& field) {
  const std::string& name = field.text();
  for (const auto& [known, role] : kRoleNames) {
    if (name == known) return role;
  }
  if (std::find(kToolRoles.begin(), kToolRoles.end(), name) != kToolRoles.end()) {
    refuse_content(field, str("the role ", io::quoted(name)));
  }
  field.fail("one of system, user, assistant, human, gpt");
}

}  // namespace

Turn parse_turn(const io::Field& item) {
  refuse_members(item, {"tool_calls", "function_call", "images", "audio", "videos"});
  const bool sharegpt = item.find("role") == std::nullopt && item.find("from").has_value();
  const Role role = role_of(item[sharegpt ? "from" : "role"]);
  const io::Field content = item[sharegpt ? "value" : "content"];
  if (content.value().list() != nullptr) refuse_content(content, "a list of content parts");
  return {role, content.text()};
}

namespace {

void add_turns(const io::Field& list, std::vector<Turn>& turns) {
  for (const io::Field& item : list.items()) turns.push_back(parse_turn(item));
}

/// A system prompt beside the turns, unless they begin with one.
void add_system(const io::Field& object, std::vector<Turn>& turns) {
  const std::string system = object.text_or("system", "");
  if (system.empty() || (!turns.empty() && turns.front().role == Role::system)) return;
  turns.insert(turns.begin(), {Role::system, system});
}

/// All before the last answer is the prompt.
size_t turns_before_the_last_answer(const std::vector<Turn>& turns) {
  for (size_t i = turns.size(); i > 0; --i) {
    if (turns[i - 1].role == Role::assistant) return i - 1;
  }
  return turns.size();
}

void parse_chat(const io::Field& object, const char* preferred, const char* other,
                Conversation& found) {
  refuse_members(object, {"tools", "functions", "images", "videos", "audios"});
  const bool has_preferred = object.find(preferred).has_value();
  const char* name = !has_preferred && object.find(other) ? other : preferred;
  add_turns(object[name], found.turns);
  add_system(object, found.turns);
  found.prompt_turns = turns_before_the_last_answer(found.turns);
}

void parse_alpaca(const io::Field& object, Conversation& found) {
  refuse_members(object, {"tools", "images", "videos", "audios"});
  if (const auto history = object.find("history")) {
    for (const io::Field& pair : history->items()) {
      const auto texts = pair.items();
      if (texts.size() != 2) pair.fail("a list of a question and an answer");
      found.turns.push_back({Role::user, texts[0].text()});
      found.turns.push_back({Role::assistant, texts[1].text()});
    }
  }
  std::string question = object["instruction"].text();
  const std::string input = object.text_or("input", "");
  if (!input.empty()) question += (question.empty() ? "" : "\n") + input;
  found.turns.push_back({Role::user, std::move(question)});
  found.turns.push_back({Role::assistant, object["output"].text()});
  add_system(object, found.turns);
  found.prompt_turns = found.turns.size() - 1;
}

void parse_prompt(const io::Field& object, Conversation& found) {
  refuse_members(object, {"tools", "images"});
  const io::Field prompt = object["prompt"], completion = object["completion"];
  if ((prompt.value().list() != nullptr) != (completion.value().list() != nullptr)) {
    completion.fail("a text beside a text, or a list of messages beside a list");
  }
  found.raw = prompt.value().list() == nullptr;
  if (found.raw) {
    found.turns = {{Role::user, prompt.text()}, {Role::assistant, completion.text()}};
    found.prompt_turns = 1;
    return;
  }
  add_turns(prompt, found.turns);
  found.prompt_turns = found.turns.size();
  add_turns(completion, found.turns);
}

}  // namespace

const char* name_of(Role role) {
  return role == Role::system ? "system" : role == Role::user ? "user" : "assistant";
}

const char* name_of(DatasetFormat format) {
  for (const auto& [known, name] : kDatasetFormats) {
    if (known == format) return name;
  }
  return "";
}

DatasetFormat dataset_format(std::string_view name) {
  for (const auto& [format, known] : kDatasetFormats) {
    if (name == known) return format;
  }
  detail::throw_error(
      str("dataset_format: found ", io::quoted(name),
          "; expected auto, messages, sharegpt, alpaca, prompt_completion or text"));
}

DatasetFormat recognised_format(const io::Field& object) {
  const auto has = [&object](const char* name) { return object.find(name).has_value(); };
  if (has("messages")) return DatasetFormat::messages;
  if (has("conversations")) return DatasetFormat::sharegpt;
  if (has("instruction") && has("output")) return DatasetFormat::alpaca;
  if (has("prompt") && has("completion")) return DatasetFormat::prompt_completion;
  if (has("text")) return DatasetFormat::text;
  std::string names;
  for (const auto& member : object.members()) {
    if (names.size() > 200) break;
    names += (names.empty() ? "" : ", ") + io::quoted(member.key);
  }
  detail::throw_error(
      str(object.place(), ": found an object with ", names.empty() ? "no members" : names,
          "; expected messages, conversations, instruction and output, prompt and completion, or "
          "text. Hint: name the form with dataset_format, and rename the members to fit it"));
}

Conversation parse_conversation(const io::Field& object, DatasetFormat format) {
  Conversation found;
  found.format = format;
  switch (format) {
    case DatasetFormat::automatic:
      return parse_conversation(object, recognised_format(object));
    case DatasetFormat::messages:
      parse_chat(object, "messages", "conversations", found);
      break;
    case DatasetFormat::sharegpt:
      parse_chat(object, "conversations", "messages", found);
      break;
    case DatasetFormat::alpaca:
      parse_alpaca(object, found);
      break;
    case DatasetFormat::prompt_completion:
      parse_prompt(object, found);
      break;
    case DatasetFormat::text:
      found.raw = true;
      found.turns = {{Role::assistant, object["text"].text()}};
      break;
  }
  return found;
}

}  // namespace heddle::data
