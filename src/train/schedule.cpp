#include "heddle/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"

namespace heddle::train {

namespace {

constexpr std::string_view kNames[] = {"constant", "linear", "cosine", "inverse_sqrt"};

}  // namespace

std::string_view name_of(Curve curve) { return kNames[static_cast<int>(curve)]; }

Curve curve_of(std::string_view name) {
  for (const Curve curve : {Curve::constant, Curve::linear, Curve::cosine, Curve::inverse_sqrt}) {
    if (name == name_of(curve)) return curve;
  }
  detail::throw_error(str("lr_scheduler_type: found ", io::quoted(name),
                          "; expected constant, linear, cosine or inverse_sqrt"));
}

void Schedule::check() const {
  HEDDLE_CHECK(std::isfinite(peak) && peak >= 0, "learning_rate: found ", peak,
               "; expected 0 or more");
  HEDDLE_CHECK(least >= 0 && least <= peak, "schedule: found the least rate ", least,
               "; expected one up to the learning rate ", peak);
  HEDDLE_CHECK(warmup_steps >= 0, "warmup_steps: found ", warmup_steps);
  const bool ends = curve == Curve::linear || curve == Curve::cosine;
  HEDDLE_CHECK(!ends || last_step > warmup_steps, "schedule: ", name_of(curve), " ends at step ",
               last_step, ", after a warm-up of ", warmup_steps,
               " steps; expected a later end (set max_steps)");
}

double Schedule::rate(int64_t step) const {
  const auto at = static_cast<double>(step), warmup = static_cast<double>(warmup_steps);
  if (step < warmup_steps) return peak * at / warmup;
  if (curve == Curve::constant) return peak;
  if (curve == Curve::inverse_sqrt) {
    return std::max(least, peak * std::sqrt(std::max(warmup, 1.0) / std::max(at, 1.0)));
  }
  const double done =
      std::clamp((at - warmup) / (static_cast<double>(last_step) - warmup), 0.0, 1.0);
  const double left =
      curve == Curve::linear ? 1 - done : (1 + std::cos(std::numbers::pi * done)) / 2;
  return least + (peak - least) * left;
}

}  // namespace heddle::train
