// The models of tests/golden/models.json.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "heddle/io/json.h"
#include "tests/model/random_model.h"

namespace heddle::model {

struct Golden {
  std::string name;
  TransformerConfig config;
  Pairs pairs{};
  std::vector<std::vector<float>> hidden{};  // of a pair's last positions, or of all
  std::vector<std::vector<float>> logits{};  // of a pair's last position
};

template <typename T>
std::vector<T> numbers(const io::Field& json) {
  std::vector<T> out;
  for (const io::Field& item : json.items()) out.push_back(static_cast<T>(item.number()));
  return out;
}

/// The content of tests/golden/<name>.
inline io::Value read_golden_file(const std::string& name) {
  const std::string path = std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / name;
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return io::parse_json(text, path, {.depth = 64, .memory = size_t{256} << 20});
}

inline std::vector<Golden> read_golden() {
  const io::Value value = read_golden_file("models.json");
  std::vector<Golden> models;
  for (const io::Field& json : io::Field(value, "models.json").items()) {
    Golden golden{.name = json["name"].text(), .config = read_config(json["config"])};
    for (const io::Field& pair : json["pairs"].items()) {
      golden.pairs.sources.push_back(numbers<int32_t>(pair["source"]));
      golden.pairs.targets.push_back(numbers<int32_t>(pair["target"]));
      golden.hidden.push_back(numbers<float>(pair["hidden"]));
      golden.logits.push_back(numbers<float>(pair["logits"]));
    }
    models.push_back(std::move(golden));
  }
  return models;
}

inline const std::vector<Golden>& golden_models() {
  static const std::vector<Golden> models = read_golden();
  return models;
}

}  // namespace heddle::model
