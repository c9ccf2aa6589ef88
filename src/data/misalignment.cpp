#include "heddle/data/misalignment.h"

#include <cmath>

namespace heddle::data {

namespace {

// Real text in order lies above 0.7; slipped by a line, within 0.2 of zero.
constexpr double kLeastCorrelation = 0.35;
// Lines of nearly one length tell nothing.
constexpr double kLeastVariance = 0.02;

}  // namespace

void MisalignmentAlarm::add(uint64_t line, size_t source_bytes, size_t target_bytes) {
  if (count_ == 0) block_line_ = line;
  const double x = std::log1p(static_cast<double>(source_bytes));
  const double y = std::log1p(static_cast<double>(target_bytes));
  x_ += x;
  y_ += y;
  xx_ += x * x;
  yy_ += y * y;
  xy_ += x * y;
  if (++count_ == kBlock) end_block();
}

void MisalignmentAlarm::end_block() {
  const double n = count_;
  const double x_variance = xx_ / n - (x_ / n) * (x_ / n);
  const double y_variance = yy_ / n - (y_ / n) * (y_ / n);
  const double covariance = xy_ / n - (x_ / n) * (y_ / n);
  ++blocks_;
  if (x_variance > kLeastVariance && y_variance > kLeastVariance &&
      covariance < kLeastCorrelation * std::sqrt(x_variance * y_variance)) {
    if (++suspicious_ == 1) first_line_ = block_line_;
  }
  count_ = 0;
  x_ = y_ = xx_ = yy_ = xy_ = 0;
}

}  // namespace heddle::data
