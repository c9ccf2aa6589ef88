// AdamW (Loshchilov & Hutter 2019), all of an update in one pass over memory:
//
//   g = scale · gradient
//   m = β1 m + (1 − β1) g          v = β2 v + (1 − β2) g²
//   w = w − rate · λ w − rate · (m / (1 − β1^t)) / (√(v / (1 − β2^t)) + ε)
//   mean = decay · mean + (1 − decay) w      (with an average of the weights)
//
// λ is 0 for what has one axis: biases and norms. State is f32 or
// 8-bit (moment.h). Elements do not meet, so the
// bits do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/train/moment.h"
#include "heddle/train/trainable.h"

namespace heddle::train {

struct AdamWSettings {
  double beta1 = 0.9, beta2 = 0.98, epsilon = 1e-9;
  double weight_decay = 0;
  int state_bits = 32;   ///< of both moments: 32 or 8
  double ema_decay = 0;  ///< of the average of the weights; 0: none

  void check() const;
};

/// The numbers of one update, rounded once.
struct AdamWFactors {
  float scale, beta1, beta2, new1, new2;  ///< new = 1 − β
  float keep;                             ///< 1 − rate · λ
  float rate;                             ///< rate / (1 − β1^t)
  float root;                             ///< 1 / √(1 − β2^t)
  float epsilon, decay, new_decay;
};
AdamWFactors factors_of(const AdamWSettings& settings, int64_t step, double rate, double scale);

class AdamW {
 public:
  /// The average starts as the weights are.
  AdamW(std::span<const Slot> slots, const AdamWSettings& settings);

  /// Update number `step` (1, 2, …) with gradients times `scale`.
  void update(std::span<Slot> slots, int64_t step, double rate, double scale,
              ThreadPool* threads = nullptr);

  /// Exchanges weights and their average; twice gives what was. Throws when there is none.
  void swap_average(std::span<Slot> slots);
  bool has_average() const { return !averages_.empty(); }

  /// The state by name, sharing its memory: "exp_avg.NAME", "exp_avg_sq.NAME", "ema.NAME",
  /// and for 8 bits the first two with ".absmax" behind.
  std::map<std::string, Tensor> state() const;
  void load(const std::string& path);  ///< a safetensors file of the state

 private:
  AdamWSettings settings_;
  std::vector<std::string> names_;
  std::vector<Moment> means_, squares_;
  std::vector<Tensor> averages_;
};

/// √Σ gradient², summed in double in an order that does not depend on threads. Not finite when any
/// gradient is not.
double gradient_norm(std::span<const Slot> slots, ThreadPool* threads = nullptr);

/// The name of the first slot whose gradient holds something not finite; empty when there is none.
std::string first_not_finite(std::span<const Slot> slots);

}  // namespace heddle::train
