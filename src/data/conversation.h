// Conversations as fine-tuning sees them, and the forms that a line of jsonl may have:
//
//   messages           {"messages": [{"role": "user", "content": "…"}, …]}
//   sharegpt           {"conversations": [{"from": "human", "value": "…"}, …]}, also "system"
//   alpaca             {"instruction": "…", "input": "…", "output": "…"}, also "system", "history"
//   prompt_completion  {"prompt": …, "completion": …}: two texts, or two lists of messages
//   text               {"text": "…"}
//
// All become one form: a list of turns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/io/value.h"

namespace heddle::data {

enum class Role : uint8_t { system, user, assistant };

const char* name_of(Role role);

struct Turn {
  Role role = Role::user;
  std::string text;
  bool operator==(const Turn&) const = default;
};

enum class DatasetFormat : uint8_t {
  automatic,  ///< by the first line that is an object
  messages,
  sharegpt,
  alpaca,
  prompt_completion,
  text,
};

const char* name_of(DatasetFormat format);

/// The format of a name: "messages", "sharegpt", "alpaca", "prompt_completion", "text", "auto".
DatasetFormat dataset_format(std::string_view name);

struct Conversation {
  std::vector<Turn> turns;
  size_t prompt_turns = 0;  ///< the first so many are the prompt, the others the completion
  bool raw = false;         ///< the turns' texts follow each other without a template
  DatasetFormat format = DatasetFormat::messages;
  uint64_t line = 0;  ///< of its file, from 1
};

/// A line that says something this version cannot train on: tools, images, parts of content.
class UnsupportedContent : public Error {
 public:
  using Error::Error;
};

/// One message, {"role": …, "content": …} or {"from": …, "value": …}.
Turn parse_turn(const io::Field& item);

/// The format whose members an object has; throws when it is none of them.
DatasetFormat recognised_format(const io::Field& object);

/// The conversation of one line; throws an Error, or UnsupportedContent, that names the field.
Conversation parse_conversation(const io::Field& object, DatasetFormat format);

}  // namespace heddle::data
