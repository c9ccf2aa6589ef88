#include "heddle/text/chat_template.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/source.h"
#include "heddle/text/chat_template_rows.h"
#include "heddle/text/tokenizer_json.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

/// What Python's str.strip() takes off.
bool is_stripped(char32_t value) { return is_space(value) || (value >= 0x1C && value <= 0x1F); }

std::string_view stripped(std::string_view text) {
  while (!text.empty()) {
    const CodePoint first = decode_utf8(text, 0);
    if (!is_stripped(first.value)) break;
    text.remove_prefix(static_cast<size_t>(first.bytes));
  }
  while (!text.empty()) {
    const CodePoint last = last_code_point(text);
    if (!is_stripped(last.value)) break;
    text.remove_suffix(static_cast<size_t>(last.bytes));
  }
  return text;
}

std::string_view without_lines(std::string_view text, bool front, bool back) {
  while (front && text.starts_with('\n')) text.remove_prefix(1);
  while (back && text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

class ChatWriter {
 public:
  ChatWriter(const ChatRow& row, const ChatTokens& tokens, const ChatOptions& options)
      : row_(row), tokens_(tokens), options_(options) {}

  std::vector<ChatSegment> write(std::span<const ChatMessage> messages) {
    check(messages);
    const bool says = !messages.empty() && messages[0].role == Role::system;
    const std::string_view system = says ? std::string_view(messages[0].content) : "";
    const bool own_turn = row_.system_place == SystemPlace::turn;
    add(options_.continues ? row_.assistant.behind : row_.begin);
    if (own_turn && !options_.continues && (says || row_.always_system)) {
      const int32_t turn = says ? 0 : -1;
      const std::string_view content = says ? system : row_.default_system;
      add(row_.system.before);
      add_text(row_.trim == Trim::contents ? stripped(content) : content, turn);
      add_behind(row_.system.behind, Kind::markup, turn);
    }
    first_ = says ? 1 : 0;
    const std::span<const ChatMessage> turns = messages.subspan(static_cast<size_t>(first_));
    for (size_t i = 0; i < turns.size(); ++i) {
      const bool here =
          says && (row_.system_place == SystemPlace::first_user     ? i == 0
                   : row_.system_place == SystemPlace::last_message ? i + 1 == turns.size()
                                                                    : false);
      if (turns[i].role == Role::user) {
        add_user(turns[i].content, first_ + static_cast<int32_t>(i),
                 here ? str(row_.system.before, system, row_.system.behind) : std::string());
      } else {
        add_assistant(turns, i);
      }
    }
    if (options_.generation_prompt) add(row_.generation_prompt);
    return std::move(segments_);
  }

 private:
  using Kind = ChatSegmentKind;

  void check(std::span<const ChatMessage> messages) const {
    HEDDLE_CHECK(!messages.empty(), "chat: found no messages; expected one at least");
    size_t first = 0;
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].role == Role::system) {
        HEDDLE_CHECK(i == 0 && !options_.continues, "chat: message ", i,
                     " is the system's; expected it at the beginning alone");
        HEDDLE_CHECK(row_.system_place != SystemPlace::refused, "chat: template ", row_.name,
                     " has no place for a system message; expected user and assistant. Hint: put "
                     "it into the first message of the user");
        first = 1;
        continue;
      }
      const bool users_turn = (i - first) % 2 == 0;
      HEDDLE_CHECK(!row_.alternates || (messages[i].role == Role::user) == users_turn,
                   "chat: message ", i, " is the ", users_turn ? "assistant's" : "user's",
                   "; template ", row_.name, " expects user and assistant in turn");
    }
  }

  /// A text of the template, in which control tokens stand.
  void add(std::string_view text, Kind plain = Kind::markup, int32_t turn = -1) {
    while (!text.empty()) {
      size_t at = text.size();
      std::string_view found;
      const auto look = [&](std::string_view control) {
        const size_t place = control.empty() ? text.npos : text.find(control);
        if (place < at) at = place, found = control;
      };
      for (const std::string_view control : row_.controls) look(control);
      for (const char* name : {"{bos}", "{eos}", "{date}"}) look(name);
      add_segment(plain, text.substr(0, at), turn);
      text.remove_prefix(at + found.size());
      if (found == "{date}") {
        add_segment(plain, tokens_.date, turn);
      } else {
        add_segment(Kind::control, spelled(found), -1);
      }
    }
  }

  /// What stands behind a turn: its speaker writes all up to the token that ends it.
  void add_behind(std::string_view behind, Kind plain, int32_t turn) {
    const size_t at = behind.find(row_.end);
    if (at == behind.npos || turn < 0) return add(behind);
    add(behind.substr(0, at), plain, turn);
    add_segment(Kind::end, spelled(row_.end), turn);
    add(behind.substr(at + row_.end.size()));
  }

  void add_text(std::string_view text, int32_t turn) {
    add_segment(turn < 0 ? Kind::markup : Kind::content, text, turn);
  }

  std::string_view spelled(std::string_view token) const {
    if (token == "{bos}") return tokens_.bos;
    return token == "{eos}" ? std::string_view(tokens_.eos) : token;
  }

  void add_segment(Kind kind, std::string_view text, int32_t turn) {
    if (!text.empty()) segments_.push_back({kind, std::string(text), turn});
  }

  void add_user(std::string_view content, int32_t turn, const std::string& system) {
    const bool trims = row_.trim == Trim::contents || row_.trim == Trim::contents_but_system;
    const std::string text = system + std::string(trims ? stripped(content) : content);
    add(row_.user.before);
    add_text(row_.trim == Trim::turns ? stripped(text) : text, turn);
    add_behind(row_.user.behind, Kind::markup, turn);
  }

  void add_assistant(std::span<const ChatMessage> turns, size_t i) {
    const std::string_view content = turns[i].content;
    const auto turn = first_ + static_cast<int32_t>(i);
    std::string_view before = row_.assistant.before;
    if (before.starts_with(row_.generation_prompt)) {  // what is behind it a model writes itself
      add(row_.generation_prompt);
      before.remove_prefix(row_.generation_prompt.size());
    }
    add(before, Kind::content, turn);
    if (row_.thinks) {
      add_answer_with_thoughts(turns, i);
    } else {
      add_text(row_.trim == Trim::nothing ? content : stripped(content), turn);
    }
    add_behind(row_.assistant.behind, Kind::content, turn);
  }

  /// Thoughts of answers before the last question are left out; the last answer always has some.
  void add_answer_with_thoughts(std::span<const ChatMessage> turns, size_t i) {
    const auto asks = [](const ChatMessage& message) {
      const std::string& text = message.content;
      return message.role == Role::user &&
             !(text.starts_with("<tool_response>") && text.ends_with("</tool_response>"));
    };
    const auto turn = first_ + static_cast<int32_t>(i);
    constexpr std::string_view kOpen = "<think>", kClose = "</think>";
    std::string_view content = turns[i].content, thoughts;
    if (const size_t first = content.find(kClose); first != content.npos) {
      thoughts = without_lines(content.substr(0, first), false, true);
      if (const size_t open = thoughts.rfind(kOpen); open != thoughts.npos) {
        thoughts.remove_prefix(open + kOpen.size());
      }
      thoughts = without_lines(thoughts, true, false);
      content.remove_prefix(content.rfind(kClose) + kClose.size());
      content = without_lines(content, true, false);
    }
    const bool asked_before =
        std::any_of(turns.begin(), turns.begin() + static_cast<int64_t>(i), asks);
    const bool asked_behind =
        std::any_of(turns.begin() + static_cast<int64_t>(i), turns.end(), asks);
    const bool last = i + 1 == turns.size();
    if (asked_before && !asked_behind && (last || !thoughts.empty())) {
      add_text(str("<think>\n", without_lines(thoughts, true, true), "\n</think>\n\n"), turn);
      content = without_lines(content, true, false);
    }
    add_text(content, turn);
  }

  const ChatRow& row_;
  const ChatTokens& tokens_;
  const ChatOptions& options_;
  int32_t first_ = 0;  // number of the first message that is not the system's
  std::vector<ChatSegment> segments_;
};

/// Adds the ids of a text in which control tokens stay text. Where a tokenizer does not call one of
/// them special, its spelling is cut in two.
void encode_content(std::string_view text, bool continues, const ChatRow& row,
                    const BpeTokenizer& tokenizer, std::vector<int32_t>& ids) {
  std::vector<int32_t> run;
  while (!text.empty()) {
    size_t end = text.size();
    for (const std::string_view control : row.controls) {
      const int32_t id = control.empty() ? -1 : tokenizer.id_of(control);
      if (id < 0 || tokenizer.is_special(id)) continue;
      if (const size_t at = text.find(control); at != text.npos) end = std::min(end, at + 1);
    }
    tokenizer.encode(text.substr(0, end), run, {.allow_special = false, .continues = continues});
    ids.insert(ids.end(), run.begin(), run.end());
    text.remove_prefix(end);
    continues = true;
  }
}

}  // namespace

Role role_named(std::string_view name) {
  if (name == "system") return Role::system;
  if (name == "user") return Role::user;
  HEDDLE_CHECK(name == "assistant", "chat: found the role ", io::quoted(name),
               "; expected system, user or assistant");
  return Role::assistant;
}

std::string ChatTemplate::names() {
  std::string names;
  for (const ChatRow& row : chat_rows()) names += str(names.empty() ? "" : ", ", row.name);
  return names;
}

ChatTemplate ChatTemplate::named(std::string_view name) {
  const auto row = std::ranges::find(chat_rows(), name, &ChatRow::name);
  HEDDLE_CHECK(row != chat_rows().end(), "chat: found the template ", io::quoted(name),
               "; expected ", names());
  return ChatTemplate(*row);
}

ChatTemplate ChatTemplate::recognise(std::string_view jinja, std::string_view place) {
  const auto holds = [&](std::string_view part) { return jinja.find(part) != jinja.npos; };
  for (const ChatRow& row : chat_rows()) {
    const bool all = std::ranges::all_of(row.marks, holds);
    const bool other = std::ranges::any_of(
        row.others, [&](std::string_view part) { return !part.empty() && holds(part); });
    if (all && !other) return ChatTemplate(row);
  }
  HEDDLE_CHECK(false, "chat: ", place, ": found a chat template that is not known, ",
               io::quoted(jinja.substr(0, 60)), "; expected one of ", names(),
               ". Hint: --chat-template NAME, or --raw");
  return ChatTemplate(chat_rows()[0]);
}

std::string_view ChatTemplate::name() const { return row_->name; }
std::string_view ChatTemplate::end() const { return row_->end; }

ChatTokens chat_tokens_of(const BpeTokenizer& tokenizer, std::string date) {
  const auto piece = [&](int32_t id) {
    return id < 0 ? std::string() : std::string(tokenizer.piece(id));
  };
  return {piece(tokenizer.bos()), piece(tokenizer.eos()), std::move(date)};
}

std::vector<ChatSegment> ChatTemplate::segments(std::span<const ChatMessage> messages,
                                                const ChatTokens& tokens,
                                                const ChatOptions& options) const {
  return ChatWriter(*row_, tokens, options).write(messages);
}

std::string ChatTemplate::text(std::span<const ChatMessage> messages, const ChatTokens& tokens,
                               const ChatOptions& options) const {
  std::string text;
  for (const ChatSegment& each : segments(messages, tokens, options)) text += each.text;
  return text;
}

namespace {

int32_t control_id(const ChatRow& row, std::string_view token, const BpeTokenizer& tokenizer) {
  const int32_t id = tokenizer.id_of(token);
  HEDDLE_CHECK(id >= 0, "chat: template ", row.name, " needs the token ", io::quoted(token),
               ", which the tokenizer has not. Hint: another template, or --raw");
  return id;
}

}  // namespace

void ChatTemplate::check(const BpeTokenizer& tokenizer) const {
  for (const std::string_view control : row_->controls) {
    if (!control.empty()) control_id(*row_, control, tokenizer);
  }
}

std::vector<int32_t> ChatTemplate::encode(std::span<const ChatMessage> messages,
                                          const BpeTokenizer& tokenizer, std::string date,
                                          const ChatOptions& options) const {
  const std::vector<ChatSegment> all =
      segments(messages, chat_tokens_of(tokenizer, std::move(date)), options);
  std::vector<int32_t> ids;
  std::string run;  // segments of text: a tokenizer cuts them as one
  bool continues = options.continues;
  const auto end_run = [&] {
    if (run.empty()) return;
    encode_content(run, continues, *row_, tokenizer, ids);
    run.clear();
    continues = true;
  };
  for (const ChatSegment& each : all) {
    if (each.kind == ChatSegmentKind::markup || each.kind == ChatSegmentKind::content) {
      run += each.text;
      continue;
    }
    end_run();
    ids.push_back(control_id(*row_, each.text, tokenizer));
    continues = true;
  }
  end_run();
  return ids;
}

std::string chat_template_of(std::string_view config, std::string_view name) {
  if (config.empty()) return {};
  const io::Value value = io::parse_json(config, name);
  const auto found = io::Field(value, std::string(name)).find("chat_template");
  if (!found) return {};
  if (found->value().list() == nullptr) return found->text();
  for (const io::Field& each : found->items()) {
    if (each["name"].text() == "default") return each["template"].text();
  }
  return {};
}

std::string load_chat_template(const std::string& folder) {
  const std::string alone = io::join_path(folder, "chat_template.jinja");
  if (io::exists(alone)) return io::read_text(alone, kMaxTokenizerBytes);
  const std::string config = io::join_path(folder, "tokenizer_config.json");
  if (!io::exists(config)) return {};
  return chat_template_of(io::read_text(config, kMaxTokenizerBytes), config);
}

}  // namespace heddle::text
