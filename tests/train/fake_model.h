// A model small enough to see through: the next token from the one before, by softmax regression.
//
//   logits = W[previous] + b      with dropout drawn from (seed, step, row), as a real model has it
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "heddle/base/random.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"
#include "heddle/train/optimizer.h"
#include "heddle/train/trainable.h"

namespace heddle::testing {

class FakeModel : public train::Trainable {
 public:
  explicit FakeModel(int vocabulary = 12) : vocabulary_(vocabulary) {
    const int64_t v = vocabulary;
    for (const Shape& shape : {Shape{v, v}, Shape{v}}) {
      slots_.push_back({shape.rank() == 2 ? "weight" : "bias", Tensor::zeros(shape, DType::f32),
                        Tensor::zeros(shape, DType::f32)});
    }
    Random random(17);
    float* weight = slots_[0].value.data<float>();
    for (int64_t i = 0; i < v * v; ++i) weight[i] = static_cast<float>(0.1 * random.normal());
  }

  std::span<train::Slot> slots() { return slots_; }
  std::unique_ptr<train::Optimizer> optimizer(const train::AdamWSettings& settings,
                                              ThreadPool* threads) override {
    return train::host_optimizer(slots_, settings, threads);
  }
  int64_t parameters() const override { return train::parameters_of(slots_); }
  void zero_gradients() override {
    for (auto& slot : slots_) {
      std::memset(slot.gradient.raw(), 0, static_cast<size_t>(slot.gradient.elements()) * 4);
    }
  }
  void values_changed() override { ++changes; }

  train::LossSums forward_backward(const data::PackedBatch& batch,
                                   const train::LossSettings& settings) override {
    train::LossSums sums = run(batch, &settings);
    if (spike && spike(settings.step)) {
      sums.loss *= 40;
      for (auto& slot : slots_) {
        for (int64_t i = 0; i < slot.gradient.elements(); ++i) {
          slot.gradient.data<float>()[i] *= 40;
        }
      }
    }
    if (poison && poison(settings.step)) {
      slots_[1].gradient.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
    }
    return sums;
  }
  train::LossSums loss(const data::PackedBatch& batch, const train::LossSettings&) override {
    return run(batch, nullptr);
  }

  void save(const std::string& folder, io::FileOperations& files) override {
    train::save_values(slots_, io::join_path(folder, "model.safetensors"), files);
    io::write_file(io::join_path(folder, "config.json"), "{}\n", files);
  }
  void load(const std::string& folder) override {
    train::load_values(slots_, io::join_path(folder, "model.safetensors"));
  }

  std::string bytes() {
    std::string text;
    for (const auto& slot : slots_) {
      text.append(static_cast<const char*>(slot.value.raw()),
                  static_cast<size_t>(slot.value.elements()) * 4);
    }
    return text;
  }

  int changes = 0;
  std::function<bool(uint64_t step)> poison;  // of a gradient
  std::function<bool(uint64_t step)> spike;   // of loss and gradient

 private:
  train::LossSums run(const data::PackedBatch& batch, const train::LossSettings* settings) {
    train::LossSums sums;
    const auto v = static_cast<size_t>(vocabulary_);
    std::vector<double> p(v);
    for (size_t row = 0; row < batch.labels.size(); ++row) {
      if (batch.labels[row] < 0) continue;
      const auto label = static_cast<size_t>(batch.labels[row]);
      const auto previous = static_cast<size_t>(batch.targets[row]);
      const double weight = batch.weights.empty() ? 1.0 : static_cast<double>(batch.weights[row]);
      double keep = 1;
      if (settings != nullptr && settings->dropout > 0) {
        Random random(settings->seed, settings->step << 32 | (settings->first_row + row));
        keep = random.uniform() < settings->dropout ? 0 : 1 / (1 - settings->dropout);
      }
      double largest = -1e300, sum = 0;
      for (size_t i = 0; i < v; ++i) {
        p[i] = keep * static_cast<double>(slots_[0].value.data<float>()[previous * v + i]) +
               static_cast<double>(slots_[1].value.data<float>()[i]);
        largest = std::max(largest, p[i]);
      }
      const bool correct = p[label] == largest;
      for (double& x : p) sum += x = std::exp(x - largest);
      for (double& x : p) x /= sum;
      sums.nll += weight * -std::log(p[label]);
      sums.weight += weight;
      ++sums.tokens;
      sums.correct += correct ? 1 : 0;
      if (settings == nullptr) continue;
      for (size_t i = 0; i < v; ++i) {
        const double d = settings->gradient_scale * weight * (p[i] - (i == label ? 1 : 0));
        slots_[0].gradient.data<float>()[previous * v + i] += static_cast<float>(keep * d);
        slots_[1].gradient.data<float>()[i] += static_cast<float>(d);
      }
    }
    sums.loss = sums.nll;
    return sums;
  }

  int vocabulary_;
  std::vector<train::Slot> slots_;
};

/// Pairs whose targets count upwards, mostly.
struct FakeData {
  explicit FakeData(int pairs = 200, uint64_t seed = 3) {
    Random random(seed);
    offsets.push_back(0);
    for (int i = 0; i < 2 * pairs; ++i) {
      auto token = static_cast<int32_t>(random.below(8));
      const auto length = 1 + random.below(9);
      for (uint64_t j = 0; j < length; ++j) {
        tokens.push_back(token);
        token = random.below(8) == 0 ? static_cast<int32_t>(random.below(8)) : (token + 1) % 8;
      }
      offsets.push_back(tokens.size());
    }
  }
  data::TokenPairs view() const { return {tokens, offsets, {}}; }

  std::vector<int32_t> tokens;
  std::vector<uint64_t> offsets;
};

}  // namespace heddle::testing
