#include "heddle/serve/fields.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/io/json.h"

namespace heddle::serve {

namespace {

std::string_view kind_of(const io::Value& value) {
  if (value.boolean() != nullptr) return "a boolean";
  if (value.integer() != nullptr || value.number() != nullptr) return "a number";
  if (value.text() != nullptr) return "a text";
  if (value.list() != nullptr) return "a list";
  return value.map() != nullptr ? "an object" : "null";
}

/// A name that may be repeated: it cannot carry anything.
bool is_plain(std::string_view name) {
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

io::Value parse_body(std::string_view body, const Limits& limits) {
  io::JsonLimits json;
  json.depth = limits.json_depth;
  json.token = limits.body;
  json.memory = 16 * limits.body;
  try {
    return io::parse_json(body, "body", json);
  } catch (const Error& error) {
    // Of the parser's message, which repeats text of the body, only the place is passed on.
    const std::string_view message = error.what();
    const size_t offset = message.rfind("(offset ");
    const bool deep = message.find("inside one another") != message.npos;
    refuse(400, "bad_json",
           str("found ", deep ? "lists and objects too deep inside one another" : "no JSON", " ",
               offset == message.npos ? std::string_view("in the body") : message.substr(offset),
               "; expected JSON by RFC 8259 of at most ", limits.json_depth, " levels"));
  }
}

Fields::Fields(const io::Value& value, std::string place,
               std::initializer_list<std::string_view> known)
    : value_(value), place_(std::move(place)) {
  if (value.map() == nullptr) {
    refuse(422, "bad_field",
           str(place_, ": found ", kind_of(value), "; expected an object of fields"));
  }
  for (const io::Value::Member& member : *value.map()) {
    if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
    std::string names;
    for (const std::string_view name : known) names += (names.empty() ? "" : ", ") + str(name);
    refuse(422, "unknown_field",
           str(place_, ": found the unknown field ",
               is_plain(member.key) ? member.key : "(not shown)", "; expected ", names));
  }
}

void Fields::fail(std::string_view key, std::string_view expected) const {
  const io::Value* value = find(key);
  refuse(422, "bad_field",
         str(place_, ".", key, ": found ", value == nullptr ? "nothing" : kind_of(*value),
             "; expected ", expected));
}

int64_t Fields::integer(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const {
  const io::Value* value = find(key);
  if (value == nullptr) return otherwise;
  const int64_t* number = value->integer();
  if (number == nullptr || *number < low || *number > high) {
    fail(key, str("a whole number from ", low, " to ", high));
  }
  return *number;
}

double Fields::number(std::string_view key, double otherwise, double low, double high) const {
  const io::Value* value = find(key);
  if (value == nullptr) return otherwise;
  double number = low - 1;
  if (value->integer() != nullptr) number = static_cast<double>(*value->integer());
  if (value->number() != nullptr) number = *value->number();
  if (!(number >= low && number <= high)) fail(key, str("a number from ", low, " to ", high));
  return number;
}

bool Fields::boolean(std::string_view key, bool otherwise) const {
  const io::Value* value = find(key);
  if (value == nullptr) return otherwise;
  if (value->boolean() == nullptr) fail(key, "true or false");
  return *value->boolean();
}

std::string Fields::text(std::string_view key) const {
  const io::Value* value = find(key);
  if (value == nullptr) return {};
  if (value->text() == nullptr) fail(key, "a text");
  return checked_text(*value->text());
}

std::vector<std::string> Fields::texts(std::string_view key, bool& is_list) const {
  const io::Value* value = find(key);
  std::vector<std::string> texts;
  is_list = value != nullptr && value->list() != nullptr;
  if (value != nullptr && value->text() != nullptr) {
    texts.push_back(checked_text(*value->text()));
  } else if (is_list) {
    for (const io::Value& item : *value->list()) {
      if (item.text() == nullptr) fail(key, "a text or a list of texts");
      texts.push_back(checked_text(*item.text()));
    }
  } else {
    fail(key, "a text or a list of texts");
  }
  return texts;
}

const std::string& checked_text(const std::string& text) {
  if (text.find('\0') != text.npos) {
    refuse(400, "bad_text", "found a NUL character in a text; expected none");
  }
  return text;
}

}  // namespace heddle::serve
