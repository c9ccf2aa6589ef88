// The models of tests/golden/language_models, and what transformers computed with them.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "heddle/io/safetensors.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/transformer.h"
#include "heddle/ops/linear.h"

namespace heddle::model {

inline std::string language_folder(const std::string& name) {
  return std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / "language_models" /
         name;
}

struct LanguageGolden {
  explicit LanguageGolden(const std::string& of) : name(of) {
    const io::SafetensorsFile file(io::Source(language_folder(of) + "/golden.safetensors"));
    for (const io::TensorEntry& entry : file.tensors()) tensors[entry.name] = file.read(entry);
    tokens = numbers<int32_t>("tokens");
    offsets = numbers<int32_t>("offsets");
    logits = numbers<float>("logits");
  }

  template <typename T>
  std::vector<T> numbers(const std::string& key) const {
    const Tensor& tensor = tensors.at(key);
    return {tensor.data<T>(), tensor.data<T>() + tensor.elements()};
  }

  PackedPair texts() const { return {.targets = tokens, .target_offsets = offsets}; }

  /// Text s alone.
  std::vector<int32_t> text(size_t s) const {
    return {tokens.begin() + offsets[s], tokens.begin() + offsets[s + 1]};
  }
  size_t count() const { return offsets.size() - 1; }

  std::string name;
  std::map<std::string, Tensor> tensors;
  std::vector<int32_t> tokens, offsets;
  std::vector<float> logits;  // [T, V]
};

inline const std::vector<std::string>& language_names() {
  static const std::vector<std::string> names{"llama",   "llama3", "llama31",
                                              "mistral", "qwen2",  "qwen2_window",
                                              "qwen3",   "gemma3", "gemma3_even"};
  return names;
}

/// Logits [R, V] of hidden states.
inline std::vector<float> logits_of(const Transformer& model, ops::Rows& hidden) {
  ops::Workspace workspace;
  ops::Rows out(hidden.count(), model.config().target_vocabulary, workspace);
  ops::linear(hidden, model.output(), {}, out, workspace);
  return {out.row(0), out.row(0) + out.count() * out.width()};
}

inline std::vector<float> forward_logits(const Transformer& model, const PackedPair& texts) {
  ops::Workspace workspace;
  const Tensor hidden = model.forward(texts, workspace);
  ops::Rows rows(hidden.data<float>(), hidden.dim(0), hidden.dim(1), hidden.dim(1), workspace);
  return logits_of(model, rows);
}

/// The largest difference, relative to the largest number expected.
inline double language_error(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return 1e9;
  double worst = 0, largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(double{found[i]} - double{expected[i]});
    worst = std::isnan(difference) ? 1e9 : std::max(worst, difference);
    largest = std::max(largest, std::abs(double{expected[i]}));
  }
  return worst / largest;
}

}  // namespace heddle::model
