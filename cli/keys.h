// Keys of a command that has many: one table for its configuration file, its flags and its help.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "heddle/io/value.h"

namespace heddle::cli {

/// What a key holds; a list of texts is given as a list in YAML and by repeating the flag.
/// A tree is a map of keys of its own, which only the file can have.
enum class KeyKind { integer, number, boolean, text, texts, tree };

struct Key {
  const char* name;
  KeyKind kind;
  const char* otherwise;  ///< the default, as YAML; empty: none
  const char* help;
  const char* aliases = "";  ///< other names, with spaces between
};

class KeyTable {
 public:
  /// Keys of `heddle COMMAND`, in the order of its help.
  KeyTable(std::string command, std::vector<const std::vector<Key>*> tables)
      : command_(std::move(command)), tables_(std::move(tables)) {}

  const std::vector<const std::vector<Key>*>& tables() const { return tables_; }
  const Key* find(std::string_view name) const;  ///< by any of its names; null: none

  /// The defaults, with what the YAML file says instead, each under the key's first name. Throws
  /// for unknown keys, with the one that was meant.
  io::Value read(const std::string& path) const;

  /// The keys of a map, typed, each under its first name, onto those there already.
  void take(const io::Field& fields, io::Value& onto) const;

 private:
  std::string meant(std::string_view name) const;

  std::string command_;
  std::vector<const std::vector<Key>*> tables_;
};

/// The flags of all keys: --learning_rate as well as --learning-rate.
class KeyFlags {
 public:
  explicit KeyFlags(const KeyTable& table) : table_(table) {}
  void add_to(const Command& command);

  /// Sets in `config` what was given.
  void apply(io::Value& config) const;

 private:
  const KeyTable& table_;
  std::map<std::string, std::optional<std::string>> texts_;
  std::map<std::string, std::vector<std::string>> lists_;
};

}  // namespace heddle::cli
