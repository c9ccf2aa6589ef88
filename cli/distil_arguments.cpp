#include "cli/distil_arguments.h"

#include <algorithm>

#include "cli/train_keys.h"
#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"

namespace heddle::cli {

std::string text_of(const io::Value& value) {
  return value.text() != nullptr ? *value.text() : io::to_json(value);
}

void append_keys(Arguments& arguments, const io::Value& keys) {
  if (keys.map() == nullptr) return;
  for (const auto& [name, value] : *keys.map()) {
    if (value.list() == nullptr) {
      arguments.insert(arguments.end(), {"--" + name, text_of(value)});
      continue;
    }
    for (const io::Value& each : *value.list()) {
      arguments.insert(arguments.end(), {"--" + name, text_of(each)});
    }
  }
}

bool is_model_key(const std::string& name) {
  return std::any_of(model_keys().begin(), model_keys().end(),
                     [&](const Key& key) { return name == key.name; });
}

void check_name(const std::string& name, const std::string& place) {
  const bool good = !name.empty() && name.size() <= 64 &&
                    name.find_first_not_of(
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789-_.") == name.npos &&
                    name.front() != '.';
  HEDDLE_CHECK(good, place, ": found the name '", name.substr(0, 64),
               "'; expected letters, digits, - and _");
}

void take_training_keys(const io::Field& given, io::Value& onto) {
  train_table().take(given, onto);
  for (const char* own : {"output_dir", "train_file", "validation_file", "vocab", "device",
                          "threads", "teacher_model", "quantize_bits"}) {
    HEDDLE_CHECK(onto.find(own) == nullptr, given.place(), ": found ", own,
                 "; expected it among the keys of heddle distil, or not at all");
  }
}

Stage training_stage(const std::string& name, const std::string& folder, const Arguments& text) {
  Stage stage{.name = name, .command = {"train", "--output_dir", folder}};
  stage.command.insert(stage.command.end(), text.begin(), text.end());
  stage.outputs = {io::join_path(folder, "model.safetensors"),
                   io::join_path(folder, "config.json")};
  stage.folder = folder;
  return stage;
}

}  // namespace heddle::cli
