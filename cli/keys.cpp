#include "cli/keys.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"
#include "heddle/io/source.h"
#include "heddle/io/yaml.h"

namespace heddle::cli {

namespace {

using enum KeyKind;

const char* type_name(KeyKind kind) {
  switch (kind) {
    case integer:
      return "INT";
    case number:
      return "FLOAT";
    case boolean:
      return "true|false";
    case text:
      return "TEXT";
    case texts:
      return "TEXT ...";
    case tree:
      break;
  }
  return "";
}

bool fits(const io::Value& value, KeyKind kind) {
  switch (kind) {
    case integer:
      return value.integer() != nullptr;
    case number:
      return value.integer() != nullptr || value.number() != nullptr;
    case boolean:
      return value.boolean() != nullptr;
    case text:
      return value.text() != nullptr;
    case tree:
      return value.map() != nullptr;
    case texts:
      break;
  }
  return false;
}

const char* expected(KeyKind kind) {
  switch (kind) {
    case integer:
      return "a whole number";
    case number:
      return "a number";
    case boolean:
      return "true or false";
    case text:
      return "a text";
    case texts:
      return "a text or a list of texts";
    case tree:
      return "keys with values";
  }
  return "";
}

/// A value of the file as its key has it: one text for a list, a number for a text are fine.
io::Value typed(const io::Field& field, KeyKind kind) {
  const io::Value& value = field.value();
  if (kind == texts) {
    if (value.text() != nullptr) return io::Value::List{value};
    if (value.list() == nullptr) field.fail(expected(kind));
    for (const io::Field& item : field.items()) {
      if (item.value().text() == nullptr) item.fail("a text");
    }
    return value;
  }
  if (kind == text && value.integer() != nullptr) return str(*value.integer());
  if (kind == text && value.boolean() != nullptr) return *value.boolean() ? "true" : "false";
  if (!fits(value, kind)) field.fail(expected(kind));
  return value;
}

/// A flag's text, read as YAML reads a plain scalar; a text stays as it is.
io::Value scalar(const std::string& given, KeyKind kind, const std::string& place) {
  if (kind == text) return given;
  const io::Value value = given.find('\n') == given.npos ? io::parse_yaml(given, place) : given;
  return typed(io::Field(value, place), kind);
}

/// Letters to change, add or take away (Levenshtein 1966).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// Every name of a key, its own first.
std::vector<std::string> names_of(const Key& key) {
  std::vector<std::string> names{key.name};
  const std::string_view others = key.aliases;
  for (size_t begin = 0; begin < others.size();) {
    const size_t end = std::min(others.find(' ', begin), others.size());
    names.emplace_back(others.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

}  // namespace

const Key* KeyTable::find(std::string_view name) const {
  for (const auto* keys : tables_) {
    for (const Key& key : *keys) {
      for (const std::string& each : names_of(key)) {
        if (name == each) return &key;
      }
    }
  }
  return nullptr;
}

std::string KeyTable::meant(std::string_view name) const {
  std::string best;
  size_t least = 4;
  for (const auto* keys : tables_) {
    for (const Key& key : *keys) {
      for (const std::string& each : names_of(key)) {
        const size_t letters = distance(name, each);
        if (letters < least) least = letters, best = each;
      }
    }
  }
  return best.empty() ? str("see heddle ", command_, " --help") : str("did you mean ", best, "?");
}

void KeyFlags::add_to(const Command& command) {
  for (const auto* keys : table_.tables()) {
    for (const Key& key : *keys) {
      if (key.kind == tree) continue;
      std::string flag;
      for (const std::string& name : names_of(key)) {
        std::string dashed = name;
        std::replace(dashed.begin(), dashed.end(), '_', '-');
        flag += str(flag.empty() ? "--" : ",--", name);
        if (dashed != name) flag += ",--" + dashed;
      }
      std::string help = key.help;
      if (key.otherwise[0] != '\0') help += str(help.empty() ? "" : " ", "[", key.otherwise, "]");
      if (key.kind == texts) {
        command.option(flag, lists_[key.name], help, type_name(key.kind));
      } else {
        command.option(flag, texts_[key.name], help, type_name(key.kind));
      }
    }
  }
}

void KeyFlags::apply(io::Value& config) const {
  for (const auto& [name, given] : texts_) {
    if (given) config.set(name, scalar(*given, table_.find(name)->kind, "--" + name));
  }
  for (const auto& [name, given] : lists_) {
    if (given.empty()) continue;
    io::Value::List list;
    for (const std::string& each : given) list.emplace_back(each);
    config.set(name, std::move(list));
  }
}

io::Value KeyTable::read(const std::string& path) const {
  io::Value config;
  for (const auto* keys : tables_) {
    for (const Key& key : *keys) {
      if (key.otherwise[0] != '\0') config.set(key.name, scalar(key.otherwise, key.kind, key.name));
    }
  }
  if (path.empty()) return config;
  const io::Value file = io::parse_yaml(io::read_text(path, io::kLongestYaml), path);
  if (file.is_null()) return config;
  take(io::Field(file, path), config);
  return config;
}

void KeyTable::take(const io::Field& fields, io::Value& onto) const {
  for (const auto& [name, value] : fields.members()) {
    const Key* key = find(name);
    HEDDLE_CHECK(key != nullptr, fields.place(), ": found the key ", io::quoted(name), "; ",
                 meant(name));
    if (value.is_null()) continue;
    onto.set(key->name, typed(io::Field(value, str(fields.place(), ": ", name)), key->kind));
  }
}

}  // namespace heddle::cli
