#include "heddle/train/adamw.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "heddle/base/error.h"
#include "heddle/io/safetensors.h"

namespace heddle::train {

namespace {

constexpr int64_t kChunk = int64_t{64} << 10;  // elements

/// A part of one slot.
struct Chunk {
  size_t slot;
  int64_t begin, end;
};

std::vector<Chunk> chunks_of(std::span<const Slot> slots) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < slots.size(); ++i) {
    const int64_t count = slots[i].value.elements();
    for (int64_t begin = 0; begin < count; begin += kChunk) {
      chunks.push_back({i, begin, std::min(begin + kChunk, count)});
    }
  }
  return chunks;
}

template <typename Body>
void for_each(size_t count, ThreadPool* threads, const Body& body) {
  const auto call = [&body](int64_t index, int) { body(static_cast<size_t>(index)); };
  if (threads != nullptr) {
    threads->parallel_for(static_cast<int64_t>(count), call);
  } else {
    for (size_t i = 0; i < count; ++i) body(i);
  }
}

/// 1 − β^t, exact where β^t vanishes and where it is nearly 1.
double bias_correction(double beta, int64_t step) {
  return -std::expm1(static_cast<double>(step) * std::log(beta));
}

struct Rows {
  float *value, *mean, *square, *average;
  const float* gradient;
};

template <bool kAverage>
void update_rows(const AdamWFactors& f, const Rows& rows, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = f.scale * rows.gradient[i];
    const float mean = f.beta1 * rows.mean[i] + f.new1 * gradient;
    const float square = f.beta2 * rows.square[i] + f.new2 * gradient * gradient;
    const float value =
        f.keep * rows.value[i] - f.rate * mean / (std::sqrt(square) * f.root + f.epsilon);
    rows.mean[i] = mean;
    rows.square[i] = square;
    rows.value[i] = value;
    if constexpr (kAverage) {
      rows.average[i] = f.decay * rows.average[i] + f.new_decay * value;
    }
  }
}

}  // namespace

void AdamWSettings::check() const {
  HEDDLE_CHECK(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1, "adam: found the betas ", beta1,
               " and ", beta2, "; expected 0 up to, not including, 1");
  HEDDLE_CHECK(epsilon >= 1e-30 && epsilon <= 1, "adam_epsilon: found ", epsilon,
               "; expected 1e-30 to 1");
  HEDDLE_CHECK(weight_decay >= 0 && weight_decay <= 10, "weight_decay: found ", weight_decay,
               "; expected 0 to 10");
  HEDDLE_CHECK(ema_decay >= 0 && ema_decay < 1, "ema_decay: found ", ema_decay,
               "; expected 0 up to, not including, 1");
}

AdamWFactors factors_of(const AdamWSettings& settings, int64_t step, double rate, double scale) {
  const auto as_float = [](double value) { return static_cast<float>(value); };
  const double correction = std::sqrt(bias_correction(settings.beta2, step));
  return {.scale = as_float(scale),
          .beta1 = as_float(settings.beta1),
          .beta2 = as_float(settings.beta2),
          .new1 = as_float(1 - settings.beta1),
          .new2 = as_float(1 - settings.beta2),
          .keep = as_float(1 - rate * settings.weight_decay),
          .rate = as_float(rate / bias_correction(settings.beta1, step)),
          .root = as_float(1 / correction),
          .epsilon = as_float(settings.epsilon),
          .decay = as_float(settings.ema_decay),
          .new_decay = as_float(1 - settings.ema_decay)};
}

AdamW::AdamW(std::span<const Slot> slots, const AdamWSettings& settings) : settings_(settings) {
  settings.check();
  for (const Slot& slot : slots) {
    HEDDLE_CHECK(slot.value.dtype() == DType::f32 && slot.gradient.dtype() == DType::f32 &&
                     slot.value.shape() == slot.gradient.shape() && slot.value.is_contiguous() &&
                     slot.gradient.is_contiguous(),
                 "adam: ", slot.name, ": expected value and gradient in f32, of one shape");
    names_.push_back(slot.name);
    means_.emplace_back(slot.value.shape(), settings.state_bits, true);
    squares_.emplace_back(slot.value.shape(), settings.state_bits, false);
    if (settings.ema_decay <= 0) continue;
    averages_.push_back(Tensor::empty(slot.value.shape(), DType::f32));
    std::memcpy(averages_.back().raw(), slot.value.raw(),
                static_cast<size_t>(slot.value.elements()) * sizeof(float));
  }
}

void AdamW::update(std::span<Slot> slots, int64_t step, double rate, double scale,
                   ThreadPool* threads) {
  HEDDLE_CHECK(slots.size() == names_.size() && step >= 1, "adam: found ", slots.size(),
               " parameters at step ", step, "; expected ", names_.size());
  const AdamWFactors base = factors_of(settings_, step, rate, scale);
  const std::vector<Chunk> chunks = chunks_of(slots);
  for_each(chunks.size(), threads, [&](size_t index) {
    const Chunk& chunk = chunks[index];
    const Slot& slot = slots[chunk.slot];
    AdamWFactors factors = base;
    if (slot.value.rank() <= 1) factors.keep = 1;
    Moment &mean = means_[chunk.slot], &square = squares_[chunk.slot];
    float scratch[2][Moment::kBlock];
    for (int64_t begin = chunk.begin; begin < chunk.end; begin += Moment::kBlock) {
      const int64_t end = std::min(begin + Moment::kBlock, chunk.end);
      const Rows rows{slot.value.data<float>() + begin, mean.open(begin, end, scratch[0]),
                      square.open(begin, end, scratch[1]),
                      has_average() ? averages_[chunk.slot].data<float>() + begin : nullptr,
                      slot.gradient.data<float>() + begin};
      if (has_average()) {
        update_rows<true>(factors, rows, end - begin);
      } else {
        update_rows<false>(factors, rows, end - begin);
      }
      mean.close(begin, end, rows.mean);
      square.close(begin, end, rows.square);
    }
  });
}

void AdamW::swap_average(std::span<Slot> slots) {
  HEDDLE_CHECK(has_average(), "adam: there is no average of the weights; set ema_decay");
  for (size_t i = 0; i < slots.size(); ++i) {
    float* value = slots[i].value.data<float>();
    std::swap_ranges(value, value + slots[i].value.elements(), averages_[i].data<float>());
  }
}

std::map<std::string, Tensor> AdamW::state() const {
  std::map<std::string, Tensor> tensors;
  for (size_t i = 0; i < names_.size(); ++i) {
    means_[i].add_to(tensors, "exp_avg." + names_[i]);
    squares_[i].add_to(tensors, "exp_avg_sq." + names_[i]);
    if (has_average()) tensors.emplace("ema." + names_[i], averages_[i]);
  }
  return tensors;
}

void AdamW::load(const std::string& path) {
  std::vector<Slot> slots;
  for (auto& [name, tensor] : state()) slots.push_back({name, tensor, {}});
  load_values(slots, path);
}

double gradient_norm(std::span<const Slot> slots, ThreadPool* threads) {
  const std::vector<Chunk> chunks = chunks_of(slots);
  std::vector<double> sums(chunks.size());
  for_each(chunks.size(), threads, [&](size_t index) {
    const Chunk& chunk = chunks[index];
    const float* gradient = slots[chunk.slot].gradient.data<float>();
    double lanes[4] = {0, 0, 0, 0};
    for (int64_t i = chunk.begin; i < chunk.end; ++i) {
      lanes[i % 4] += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
    }
    sums[index] = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return std::sqrt(sum);
}

std::string first_not_finite(std::span<const Slot> slots) {
  for (const Slot& slot : slots) {
    const float* gradient = slot.gradient.data<float>();
    const bool finite = std::all_of(gradient, gradient + slot.gradient.elements(),
                                    [](float value) { return std::isfinite(value); });
    if (!finite) return slot.name;
  }
  return {};
}

}  // namespace heddle::train
