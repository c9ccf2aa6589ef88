// What updates the parameters of something that is trained, wherever they live.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "heddle/base/threads.h"
#include "heddle/train/adamw.h"

namespace heddle::train {

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// √Σ gradient². Not finite when any gradient is not.
  virtual double gradient_norm() = 0;

  /// The name of the first parameter whose gradient holds something not finite, or "".
  virtual std::string first_not_finite() = 0;

  /// Update number `step` (1, 2, …) with gradients times `scale`.
  virtual void update(int64_t step, double rate, double scale) = 0;

  virtual bool has_average() const = 0;
  virtual void swap_average() = 0;  ///< exchanges weights and their average

  /// The state by name on the host, as AdamW::state.
  virtual std::map<std::string, Tensor> state() = 0;
  virtual void load(const std::string& path) = 0;
};

/// AdamW over slots on the host; slots and threads, which may be null, outlive it.
std::unique_ptr<Optimizer> host_optimizer(std::span<Slot> slots, const AdamWSettings& settings,
                                          ThreadPool* threads);

}  // namespace heddle::train
