#include "heddle/decode/statistics.h"

#include <algorithm>
#include <cmath>

namespace heddle::decode {

namespace {

constexpr double kFirst = 1e-6;  // seconds, upper end of the first bin
constexpr double kGrowth = 1.05;

}  // namespace

void Durations::add(double seconds) {
  const double place = std::log(std::max(seconds, kFirst) / kFirst) / std::log(kGrowth);
  ++bins_[static_cast<size_t>(std::min(std::ceil(place), kBins - 1.0))];
  ++count_;
}

void Durations::merge(const Durations& other) {
  for (size_t bin = 0; bin < kBins; ++bin) bins_[bin] += other.bins_[bin];
  count_ += other.count_;
}

double Durations::percentile(double share) const {
  if (count_ == 0) return 0;
  const auto wanted = static_cast<int64_t>(std::ceil(share * static_cast<double>(count_)));
  int64_t reached = 0;
  for (int bin = 0; bin < kBins; ++bin) {
    reached += bins_[static_cast<size_t>(bin)];
    if (reached >= std::max<int64_t>(wanted, 1)) return kFirst * std::pow(kGrowth, bin);
  }
  return kFirst * std::pow(kGrowth, kBins - 1);
}

Statistics& Statistics::operator+=(const Statistics& part) {
  lines += part.lines;
  source_words += part.source_words;
  source_bytes += part.source_bytes;
  source_tokens += part.source_tokens;
  target_tokens += part.target_tokens;
  cut_lines += part.cut_lines;
  refused_lines += part.refused_lines;
  unfinished += part.unfinished;
  latency.merge(part.latency);
  profile += part.profile;
  return *this;
}

}  // namespace heddle::decode
