#include "heddle/model/position_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::model {

namespace {

constexpr int64_t kStored = 512;  // longer than nearly every sentence, and less than 1 MB

/// base^(−i / denominator) for i < count.
std::vector<double> powers(double base, int64_t count, double denominator) {
  std::vector<double> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = std::pow(base, -static_cast<double>(i) / std::max(denominator, 1.0));
  }
  return out;
}

}  // namespace

PositionTable::PositionTable(Positions kind, int64_t width) : kind_(kind), width_(width) {
  const int64_t half = width / 2;
  const double denominator =
      static_cast<double>(kind == Positions::sinusoidal_marian ? half - 1 : half);
  frequencies_ = powers(10000.0, half, denominator);
  table_.resize(static_cast<size_t>(kStored * width));
  for (int64_t p = 0; p < kStored; ++p) compute(p, table_.data() + p * width);
}

PositionTable::PositionTable(std::vector<float> table, int64_t width, int64_t offset)
    : kind_(Positions::learned), width_(width), offset_(offset), table_(std::move(table)) {}

void PositionTable::assign(std::span<const float> table) {
  HEDDLE_CHECK(kind_ == Positions::learned && table.size() == table_.size(),
               "model: ", table.size(), " learned positions' values; expected ", table_.size());
  std::ranges::copy(table, table_.begin());
}

void PositionTable::compute(int64_t position, float* row) const {
  const bool interleaved = kind_ == Positions::sinusoidal_interleaved;
  const int64_t half = width_ / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequencies_[static_cast<size_t>(i)];
    row[interleaved ? 2 * i : i] = static_cast<float>(std::sin(angle));
    row[interleaved ? 2 * i + 1 : half + i] = static_cast<float>(std::cos(angle));
  }
}

ops::Positions PositionTable::rows(std::span<const int32_t> positions,
                                   ops::Workspace& workspace) const {
  if (kind_ == Positions::none || positions.empty()) return {};
  const int64_t stored = static_cast<int64_t>(table_.size()) / width_;
  const int64_t last = *std::ranges::max_element(positions) + offset_;
  if (kind_ == Positions::learned) {
    HEDDLE_CHECK(last < stored, "model: position ", last - offset_,
                 " is asked for; expected less "
                 "than ",
                 stored - offset_, ", the length of the learned table");
    return {
        .table = table_.data() + offset_ * width_, .count = stored - offset_, .of_row = positions};
  }
  if (last < stored) return {.table = table_.data(), .count = stored, .of_row = positions};

  const auto count = static_cast<int64_t>(positions.size());
  auto* table = workspace.take<float>(count * width_);
  auto* of_row = workspace.take<int32_t>(count);
  for (int64_t r = 0; r < count; ++r) {
    compute(positions[static_cast<size_t>(r)], table + r * width_);
    of_row[r] = static_cast<int32_t>(r);
  }
  return {.table = table, .count = count, .of_row = {of_row, positions.size()}};
}

std::vector<double> rotary_frequencies(const RotaryConfig& config, int64_t head_width) {
  const auto width = static_cast<double>(head_width);
  std::vector<double> out = powers(config.base, head_width / 2, width / 2);
  const auto original = static_cast<double>(config.original_positions);
  switch (config.scaling) {
    case RotaryScaling::none:
      break;
    case RotaryScaling::linear:
      for (double& each : out) each /= config.factor;
      break;
    case RotaryScaling::llama3:
      for (double& each : out) {
        const double turns = original * each / (2 * std::numbers::pi);
        const double kept = std::clamp(
            (turns - config.low_frequency) / (config.high_frequency - config.low_frequency), 0.0,
            1.0);
        each *= (1 - kept) / config.factor + kept;
      }
      break;
    case RotaryScaling::yarn: {
      const auto pair_of = [&](double turns) {  // the pair that turns so often in the original
        return width * std::log(original / (turns * 2 * std::numbers::pi)) /
               (2 * std::log(config.base));
      };
      double low = pair_of(config.fast_turns), high = pair_of(config.slow_turns);
      if (config.whole_dimensions) {
        low = std::floor(low);
        high = std::ceil(high);
      }
      low = std::max(low, 0.0);
      high = std::min(high, width - 1);
      if (low == high) high += 0.001;
      for (size_t i = 0; i < out.size(); ++i) {
        const double slow = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        out[i] *= slow / config.factor + (1 - slow);
      }
      break;
    }
  }
  return out;
}

RotaryTable::RotaryTable(const RotaryConfig& config, int64_t head_width)
    : frequencies_(rotary_frequencies(config, head_width)),
      magnitude_(config.magnitude),
      table_(static_cast<size_t>(kStored * head_width)) {
  for (int64_t p = 0; p < kStored; ++p) compute(p, table_.data() + p * head_width);
}

void RotaryTable::compute(int64_t position, float* row) const {
  const auto half = frequencies_.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequencies_[i];
    row[i] = static_cast<float>(magnitude_ * std::cos(angle));
    row[half + i] = static_cast<float>(magnitude_ * std::sin(angle));
  }
}

void RotaryTable::turn(std::span<const int32_t> positions, int64_t heads, ops::Rows& x) const {
  rotate(positions, heads, 1, {x.row(0), x.stride()});
  x.changed();
}

void RotaryTable::turn_back(std::span<const int32_t> positions, int64_t heads,
                            ops::PlainRows d_x) const {
  rotate(positions, heads, -1, d_x);
}

void RotaryTable::rotate(std::span<const int32_t> positions, int64_t heads, float direction,
                         ops::PlainRows x) const {
  const auto half = static_cast<int64_t>(frequencies_.size());
  std::vector<float> computed;
  for (size_t r = 0; r < positions.size(); ++r) {
    const float* angles = table_.data() + positions[r] * 2 * half;
    if (positions[r] >= kStored) {
      computed.resize(static_cast<size_t>(2 * half));
      compute(positions[r], computed.data());
      angles = computed.data();
    }
    const float *cosine = angles, *sine = angles + half;
    for (int64_t h = 0; h < heads; ++h) {
      float* a = x.row(static_cast<int64_t>(r)) + h * 2 * half;
      float* b = a + half;
      for (int64_t i = 0; i < half; ++i) {
        const float first = a[i], second = b[i];
        const float turned = direction * sine[i];
        a[i] = first * cosine[i] - second * turned;
        b[i] = second * cosine[i] + first * turned;
      }
    }
  }
}

}  // namespace heddle::model
