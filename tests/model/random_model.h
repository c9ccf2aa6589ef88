// Models with random weights that tools/make_golden_models.py draws in the same way: weight i of a
// parameter is a hash of the parameter's name and i.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/model/config.h"
#include "heddle/model/parameters.h"
#include "heddle/model/transformer.h"

namespace heddle::model {

inline uint64_t fnv1a(std::string_view text) {
  uint64_t value = 0xCBF29CE484222325u;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return value;
}

inline uint64_t splitmix(uint64_t value) {
  value += 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

inline Tensor draw(const std::string& name, const Shape& shape) {
  Tensor out = Tensor::empty(shape, DType::f32);
  const bool is_norm = name.find("norm") != std::string::npos && name.ends_with(".weight");
  const bool is_bias = name.ends_with("bias");
  const double width = static_cast<double>(shape[shape.rank() - 1]);
  for (int64_t i = 0; i < out.elements(); ++i) {
    const uint64_t bits = splitmix(fnv1a(name) + static_cast<uint64_t>(i)) >> 40;
    const double unit = static_cast<double>(bits) / (1 << 23) - 1;
    const double value = is_norm   ? 1 + 0.25 * unit
                         : is_bias ? 0.25 * unit
                                   : unit * (1.5 / std::sqrt(width));
    out.data<float>()[i] = static_cast<float>(value);
  }
  return out;
}

inline ModelFiles random_model(const TransformerConfig& config) {
  ModelFiles files;
  files.config = config;
  for (const ParameterShape& each : parameters_of(config)) {
    files.parameters.add(each.name, {.values = draw(each.name, each.shape)});
  }
  return files;
}

/// Sentence pairs and their packed form.
struct Pairs {
  std::vector<std::vector<int32_t>> sources, targets;

  struct Packed {
    std::vector<int32_t> sources, source_offsets{0}, targets, target_offsets{0};
    PackedPair view() const { return {sources, source_offsets, targets, target_offsets}; }
  };
  /// The pairs named, in that order.
  Packed pack(const std::vector<size_t>& order) const {
    Packed packed;
    const auto append = [](std::vector<int32_t>& to, std::vector<int32_t>& offsets,
                           const std::vector<int32_t>& from) {
      to.insert(to.end(), from.begin(), from.end());
      offsets.push_back(static_cast<int32_t>(to.size()));
    };
    for (const size_t i : order) {
      append(packed.sources, packed.source_offsets, sources[i]);
      append(packed.targets, packed.target_offsets, targets[i]);
    }
    return packed;
  }
  std::vector<size_t> all() const {
    std::vector<size_t> order(sources.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    return order;
  }
};

/// Hidden states of all target positions of the pairs in `order`, through encode and decode_step:
/// one [targets, D] a pair.
inline std::vector<std::vector<float>> by_steps(const Transformer& model, const Pairs& pairs,
                                                const std::vector<size_t>& order,
                                                DType memory = DType::f32) {
  const Pairs::Packed packed = pairs.pack(order);
  const auto rows = static_cast<int>(order.size());
  DecoderState state(model, {.rows = rows,
                             .source_tokens = static_cast<int64_t>(packed.sources.size()),
                             .target_tokens = static_cast<int64_t>(packed.targets.size()),
                             .memory = memory});
  std::vector<int> slots;
  for (const size_t i : order) {
    slots.push_back(*state.admit(static_cast<int64_t>(pairs.sources[i].size()),
                                 static_cast<int64_t>(pairs.targets[i].size())));
  }
  ops::Workspace workspace;
  model.encode(packed.sources, packed.source_offsets, state, slots, workspace);

  std::vector<std::vector<float>> hidden(order.size());
  for (size_t step = 0;; ++step) {
    std::vector<int> live;
    std::vector<int32_t> previous;
    std::vector<size_t> owners;
    for (size_t n = 0; n < order.size(); ++n) {
      if (step >= pairs.targets[order[n]].size()) continue;
      owners.push_back(n);
      live.push_back(slots[n]);
      previous.push_back(pairs.targets[order[n]][step]);
    }
    if (live.empty()) return hidden;
    const ops::Workspace::Scope scope(workspace);
    const int64_t width = model.config().width;
    ops::Rows out(static_cast<int64_t>(live.size()), width, workspace);
    model.decode_step(state, live, previous, out, workspace);
    for (size_t r = 0; r < live.size(); ++r) {
      const float* row = out.row(static_cast<int64_t>(r));
      hidden[owners[r]].insert(hidden[owners[r]].end(), row, row + width);
    }
  }
}

}  // namespace heddle::model
