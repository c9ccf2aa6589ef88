// The keys of `heddle train`: one table for the configuration file, the flags and the help.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "heddle/io/value.h"

namespace heddle::cli {

/// What a key holds; a list of texts is given as a list in YAML and by repeating the flag.
enum class KeyKind { integer, number, boolean, text, texts };

struct TrainKey {
  const char* name;
  KeyKind kind;
  const char* otherwise;  ///< the default, as YAML; empty: none
  const char* help;
};

/// Keys of the run, then those of the model's config.json.
const std::vector<TrainKey>& train_keys();
const std::vector<TrainKey>& model_keys();

/// The flags of all keys: --learning_rate as well as --learning-rate.
class TrainFlags {
 public:
  void add_to(const Command& command);

  /// Sets in `config` what was given.
  void apply(io::Value& config) const;

 private:
  std::map<std::string, std::optional<std::string>> texts_;
  std::map<std::string, std::vector<std::string>> lists_;
};

/// The defaults, with what the YAML file says instead. Throws for unknown keys, with the one that
/// was meant.
io::Value read_train_config(const std::string& path);

}  // namespace heddle::cli
