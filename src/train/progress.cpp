#include "heddle/train/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace heddle::train {

namespace {

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  char text[128];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string rate_text(double rate) {
  if (rate >= 1e6) return formatted("%.2fM", rate / 1e6);
  if (rate >= 1e3) return formatted("%.1fk", rate / 1e3);
  return formatted("%.0f", rate);
}

std::string time_text(double seconds) {
  const auto whole = static_cast<long long>(std::min(std::max(seconds, 0.0), 1e9));
  return formatted("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

std::string progress_line(const Report& report, int64_t max_steps) {
  std::string line = formatted("step %lld", static_cast<long long>(report.step));
  if (max_steps > 0) line += formatted("/%lld", static_cast<long long>(max_steps));
  line += formatted("  epoch %.2f  loss %.4f", report.epoch, report.loss);
  if (report.figures.empty()) {
    line += formatted("  ppl %.2f  acc %.1f %%", std::exp(std::min(report.nll, 50.0)),
                      100 * report.accuracy);
  }
  for (const auto& [name, value] : report.figures) {
    if (name.ends_with("accuracies") || name == "accuracy") {
      line += formatted("  acc %.1f %%", 100 * value);
    } else if (name.ends_with("margins") || name == "margin") {
      line += formatted("  margin %.4f", value);
    }
  }
  line += formatted("  lr %.2e  norm %.2f", report.learning_rate, report.grad_norm);
  line += "  " + rate_text(report.tokens_per_second) + " tok/s";
  if (report.mfu > 0) {
    line += formatted("  MFU %.1f %%", 100 * report.mfu);
  } else if (report.flops_per_second > 0) {
    line += formatted("  %.1f GFLOP/s", report.flops_per_second / 1e9);
  }
  line += "  padding 0 %";
  if (report.skipped > 0) {
    line += formatted("  skipped %lld", static_cast<long long>(report.skipped));
  }
  if (report.seconds_left >= 0) line += "  " + time_text(report.seconds_left) + " left";
  return line;
}

}  // namespace heddle::train
