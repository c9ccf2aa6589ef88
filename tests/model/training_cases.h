// The supervision and results of tests/golden/training.json, as batches.
#pragma once

#include <map>

#include "heddle/model/training.h"
#include "tests/model/golden_models.h"

namespace heddle::model {

/// Sentence pairs with what is to be learned, packed in the order asked for.
struct Supervised {
  std::vector<int32_t> sources, source_offsets{0}, targets, target_offsets{0};
  std::vector<int32_t> labels{}, teacher_ids{};
  std::vector<float> weights{}, teacher_logs{};

  TrainingBatch view() const {
    return {
        .pair = {sources, source_offsets, targets, target_offsets},
        .labels = labels,
        .weights = weights,
        .teacher = {.ids = teacher_ids,
                    .log_probabilities = teacher_logs,
                    .count = labels.empty() ? 0 : std::ssize(teacher_ids) / std::ssize(labels)}};
  }
};

struct TrainingCase {
  std::string name;
  TransformerConfig config;
  LossSettings settings;
  double rate = 0;
  std::vector<double> losses{};
  std::map<std::string, std::vector<double>> gradients{};  // norm, product with unit numbers

  Pairs pairs{};
  std::vector<std::vector<int32_t>> labels{}, teacher_ids{};
  std::vector<std::vector<float>> weights{}, teacher_logs{};

  Supervised pack(const std::vector<size_t>& order) const {
    const Pairs::Packed packed = pairs.pack(order);
    Supervised out{.sources = packed.sources,
                   .source_offsets = packed.source_offsets,
                   .targets = packed.targets,
                   .target_offsets = packed.target_offsets};
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    for (const size_t i : order) {
      append(out.labels, labels[i]);
      append(out.weights, weights[i]);
      if (teacher_ids.empty()) continue;
      append(out.teacher_ids, teacher_ids[i]);
      append(out.teacher_logs, teacher_logs[i]);
    }
    return out;
  }
  Supervised all() const { return pack(pairs.all()); }
};

inline std::vector<TrainingCase> read_training_cases() {
  const io::Value value = read_golden_file("training.json");
  std::vector<TrainingCase> cases;
  for (const io::Field& json : io::Field(value, "training.json").items()) {
    const Golden& golden = golden_models()[cases.size()];
    TrainingCase made{.name = json["name"].text(), .config = golden.config, .settings = {}};
    EXPECT_EQ(made.name, golden.name);
    made.pairs = golden.pairs;
    made.rate = json["rate"].number();
    made.losses = numbers<double>(json["losses"]);
    const io::Field settings = json["settings"];
    made.settings = {.label_smoothing = settings["label_smoothing"].number(),
                     .teacher_weight = settings.number_or("teacher_weight", 0),
                     .z_loss = settings.number_or("z_loss", 0)};
    for (const io::Field& pair : json["pairs"].items()) {
      made.labels.push_back(numbers<int32_t>(pair["labels"]));
      made.weights.push_back(numbers<float>(pair["weights"]));
      if (made.settings.teacher_weight == 0) continue;
      made.teacher_ids.push_back(numbers<int32_t>(pair["teacher_ids"]));
      made.teacher_logs.push_back(numbers<float>(pair["teacher_logs"]));
    }
    for (const ParameterShape& each : parameters_of(made.config)) {
      made.gradients[each.name] = numbers<double>(json["gradients"][each.name]);
    }
    cases.push_back(std::move(made));
  }
  return cases;
}

inline const std::vector<TrainingCase>& training_cases() {
  static const std::vector<TrainingCase> cases = read_training_cases();
  return cases;
}

/// All gradients of a model, one after the other.
inline std::vector<float> gradients_of(const TrainingTransformer& model) {
  std::vector<float> all;
  for (const TrainingTransformer::Slot& slot : model.slots()) {
    const float* from = slot.gradient.data<float>();
    all.insert(all.end(), from, from + slot.gradient.elements());
  }
  return all;
}

inline LossSums run(TrainingTransformer& model, const Supervised& batch,
                    const LossSettings& settings, ThreadPool* threads = nullptr) {
  model.zero_gradients();
  return model.forward_backward(batch.view(), settings, threads);
}

}  // namespace heddle::model
