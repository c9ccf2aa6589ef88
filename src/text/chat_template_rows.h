// The chat templates that are known, one row each. To add one: a row, and its Jinja text in
// tests/golden/make_golden_chat.py, which writes what transformers makes of it.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace heddle::text {

/// Where the first message's text goes when it is the system's.
enum class SystemPlace {
  turn,          // a turn of its own
  first_user,    // into the first turn of the user, before its content
  last_message,  // into the last message, if it is the user's; else nowhere
  refused,
};

/// What is trimmed of white space.
enum class Trim {
  nothing,
  contents,  // of every message
  contents_but_system,
  turns,  // a user's turn as a whole, the system's text in it; an assistant's content
  assistant,
};

/// What stands before and behind a message's content; {bos}, {eos} and {date} are put in.
struct ChatTurn {
  std::string_view before, behind;
};

struct ChatRow {
  std::string_view name;
  std::array<std::string_view, 4> marks;     // a Jinja text of this kind holds all of these …
  std::array<std::string_view, 4> others;    // … and none of these
  std::array<std::string_view, 4> controls;  // tokens in the texts below, beside {bos} and {eos}
  std::string_view begin;
  ChatTurn system, user, assistant;
  std::string_view generation_prompt;
  std::string_view end;  // the token that ends an answer
  SystemPlace system_place = SystemPlace::turn;
  bool always_system = false;  // with this text when no message says another:
  std::string_view default_system = {};
  Trim trim = Trim::nothing;
  bool alternates = false;  // user, assistant, user, …; else roles come in any order
  bool thinks = false;      // Qwen 3: thoughts stand in the answer behind the last user alone
};

/// The first whose marks fit is taken.
std::span<const ChatRow> chat_rows();

}  // namespace heddle::text
