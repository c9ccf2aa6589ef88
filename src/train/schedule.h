// The learning rate of a step, 1, 2, …: a rise over the warm-up, then one of four curves.
//
//   constant       peak
//   linear         from the peak to `least` at the last step
//   cosine         the same along half a cosine
//   inverse_sqrt   peak · √(warmup / step): needs a warm-up, no last step (Vaswani et al. 2017)
#pragma once

#include <cstdint>
#include <string_view>

namespace heddle::train {

enum class Curve { constant, linear, cosine, inverse_sqrt };

struct Schedule {
  Curve curve = Curve::inverse_sqrt;
  double peak = 5e-4;
  int64_t warmup_steps = 4000;
  int64_t last_step = 0;  ///< for linear and cosine
  double least = 0;

  void check() const;
  double rate(int64_t step) const;
};

std::string_view name_of(Curve curve);
Curve curve_of(std::string_view name);

}  // namespace heddle::train
