// The running mean and deviation of a figure, to tell what falls out of its row.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heddle::train {

/// Of about the last hundred numbers: mean and variance forget by a hundredth a number.
struct Spread {
  double mean = 0, variance = 0;
  int64_t count = 0;

  /// What a number may be at most: five deviations above the mean. No limit in the first 50.
  double limit() const { return count < kLeast ? HUGE_VAL : mean + kDeviations * deviation(); }

  /// Takes a number in; one beyond the limit counts as the limit, so that one spike does not hide
  /// the next, and a lasting change is accepted in the end.
  void add(double number) {
    const double taken = std::min(number, limit());
    ++count;
    const double share = std::max(1.0 / static_cast<double>(count), kForgets);
    const double step = taken - mean;
    mean += share * step;
    variance = (1 - share) * (variance + share * step * step);
  }

  /// At least a hundredth of the mean: figures that hardly move are no reason for an alarm.
  double deviation() const { return std::max(std::sqrt(variance), 0.01 * std::abs(mean)); }

 private:
  static constexpr int64_t kLeast = 50;
  static constexpr double kDeviations = 5, kForgets = 0.01;
};

}  // namespace heddle::train
