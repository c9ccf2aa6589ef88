// Shared by the tests of kernels: rows of bf16 and arrays on the GPU with poison around them, and
// comparisons that say where two results part.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "heddle/ops/cuda/dropout_key.h"
#include "heddle/ops/workspace.h"
#include "heddle/tensor/cuda.h"
#include "tests/ops/cases.h"

namespace heddle::ops::cuda {

inline ::heddle::cuda::Context& gpu() {
  static ::heddle::cuda::Context context;
  return context;
}

class OpsGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (::heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

/// f32 on the host, [rows, width].
struct HostRows {
  int64_t rows = 0, width = 0;
  std::vector<float> values;

  HostRows() = default;
  HostRows(int64_t count, int64_t columns, float value = 0)
      : rows(count), width(columns), values(static_cast<size_t>(count * columns), value) {}

  float* row(int64_t r) { return values.data() + r * width; }
  const float* row(int64_t r) const { return values.data() + r * width; }
  PlainRows plain() { return {values.data(), width}; }
  Rows view(Workspace& workspace) { return {values.data(), rows, width, width, workspace}; }
};

inline float rounded(float value) { return static_cast<float>(BFloat16(value)); }

/// Normally distributed numbers that bf16 can hold.
inline HostRows random_rows(int64_t rows, int64_t width, uint64_t seed, double spread = 1) {
  Random random(seed);
  HostRows out(rows, width);
  for (float& value : out.values) value = rounded(static_cast<float>(spread * random.normal()));
  return out;
}

inline std::vector<float> random_floats(int64_t count, uint64_t seed, double spread = 1,
                                        double middle = 0) {
  std::vector<float> values = cases::normal_values(count, spread, seed);
  for (float& value : values) value += static_cast<float>(middle);
  return values;
}

/// An array of T with a poisoned margin on both sides.
template <typename T>
class GpuArray {
 public:
  GpuArray() = default;
  explicit GpuArray(std::span<const T> values, int64_t shift = 0)
      : count_(static_cast<int64_t>(values.size())), first_(kMargin + shift) {
    host_.assign((static_cast<size_t>(count_) + 3 * kMargin) * sizeof(T), kPoison);
    std::memcpy(host_.data() + offset(), values.data(), values.size_bytes());
    const Tensor bytes = Tensor::wrap(host_.data(), {std::ssize(host_)}, {1}, DType::u8);
    device_ = ::heddle::cuda::to_gpu(bytes, gpu());
  }
  explicit GpuArray(const std::vector<T>& values, int64_t shift = 0)
      : GpuArray(std::span<const T>(values), shift) {}
  /// All poison.
  static GpuArray blank(int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    if (count > 0)
      std::memset(static_cast<void*>(values.data()), kPoison, values.size() * sizeof(T));
    return GpuArray(values);
  }

  T* data() const { return device_.defined() ? static_cast<T*>(device_.raw()) + first_ : nullptr; }

  /// What it holds now; complains when the margins have changed.
  std::vector<T> read(const std::string& name) const {
    const Tensor now = ::heddle::cuda::to_host(device_, gpu());
    const auto* bytes = static_cast<const uint8_t*>(now.raw());
    std::vector<T> values(static_cast<size_t>(count_));
    if (count_ > 0) std::memcpy(values.data(), bytes + offset(), values.size() * sizeof(T));
    for (size_t i = 0; i < host_.size(); ++i) {
      const bool inside = i >= offset() && i < offset() + values.size() * sizeof(T);
      if (inside || bytes[i] == kPoison) continue;
      ADD_FAILURE() << name << ": byte " << i << " of " << host_.size() << " outside [" << offset()
                    << ", " << offset() + values.size() * sizeof(T) << ") was written";
      break;
    }
    return values;
  }

 private:
  static constexpr int64_t kMargin = 64;
  static constexpr uint8_t kPoison = 0xff;  // NaN as float, double and bf16

  size_t offset() const { return static_cast<size_t>(first_) * sizeof(T); }

  int64_t count_ = 0, first_ = 0;
  std::vector<uint8_t> host_;
  Tensor device_;
};

/// Rows of bf16, `gap` columns of poison between them.
class GpuRows {
 public:
  GpuRows() = default;
  explicit GpuRows(const HostRows& rows, int64_t gap = 8) : rows_(rows.rows), width_(rows.width) {
    stride_ = (width_ + 7) / 8 * 8 + gap;
    BFloat16 poison;
    poison.bits = 0xffff;
    std::vector<BFloat16> values(static_cast<size_t>(rows_ * stride_), poison);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t n = 0; n < width_; ++n) {
        values[static_cast<size_t>(r * stride_ + n)] = BFloat16(rows.row(r)[n]);
      }
    }
    array_ = GpuArray<BFloat16>(values);
  }
  static GpuRows blank(int64_t rows, int64_t width, int64_t gap = 8) {
    return GpuRows(HostRows(rows, width, std::numeric_limits<float>::quiet_NaN()), gap);
  }

  RowsView view() const { return {array_.data(), stride_}; }

  HostRows read(const std::string& name) const {
    const std::vector<BFloat16> values = array_.read(name);
    HostRows out(rows_, width_);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t n = 0; n < stride_; ++n) {
        const BFloat16 value = values[static_cast<size_t>(r * stride_ + n)];
        if (n < width_) {
          out.row(r)[n] = static_cast<float>(value);
        } else if (value.bits != 0xffff) {
          ADD_FAILURE() << name << ": row " << r << ", column " << n << " behind the width of "
                        << width_ << " was written";
          return out;
        }
      }
    }
    return out;
  }

 private:
  int64_t rows_ = 0, width_ = 0, stride_ = 0;
  GpuArray<BFloat16> array_;
};

/// |found − expected| <= relative · |expected| + absolute everywhere, NaN with NaN; else one
/// failure that names the worst place.
inline void expect_near(const std::vector<float>& found, const std::vector<float>& expected,
                        double relative, double absolute, const std::string& name) {
  ASSERT_EQ(found.size(), expected.size()) << name;
  size_t wrong = 0, worst = 0;
  double most = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double a = static_cast<double>(found[i]), b = static_cast<double>(expected[i]);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    double excess = std::abs(a - b) / (relative * std::abs(b) + absolute);
    if (std::isnan(excess)) excess = std::numeric_limits<double>::infinity();
    if (excess <= 1) continue;
    ++wrong;
    if (excess > most) worst = i, most = excess;
  }
  EXPECT_EQ(wrong, 0u) << name << ": " << wrong << " of " << found.size() << " off; worst, by "
                       << most << " tolerances, element " << worst << ": found " << found[worst]
                       << ", expected " << expected[worst];
}

/// For sums in f32 of `terms` numbers about `scale` large.
inline void expect_sums(const std::vector<float>& found, const std::vector<float>& expected,
                        int64_t terms, const std::string& name, double scale = 1) {
  expect_near(found, expected, 1e-4, 1e-5 * scale * std::sqrt(static_cast<double>(terms)) + 1e-6,
              name);
}

/// What `run` gives (a vector of vectors of floats), having run it twice to the same bits.
template <typename Run>
auto twice(const std::string& name, const Run& run) {
  const auto first = run(), second = run();
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(first[i].size() == second[i].size() &&
                std::memcmp(first[i].data(), second[i].data(), first[i].size() * 4) == 0)
        << name << ": result " << i << " differs from run to run";
  }
  return first;
}

inline void check_launch(int status) { ::heddle::cuda::check(status, "launch"); }

/// Dropout of f32 rows on the host; none where the probability is 0.
inline HostRows dropped(const Dropout& dropout, HostRows x) {
  drop(dropout, x.plain(), x.rows, x.width, x.plain());
  return x;
}

/// A key with all its parts in use.
inline Dropout some_dropout(double probability) {
  return {.probability = probability,
          .seed = 0x123456789abcdefu,
          .step = 0x300000007u,
          .first_row = 0x5fffffffdu,
          .site = 4321};
}

}  // namespace heddle::ops::cuda
