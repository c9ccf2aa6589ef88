#include "heddle/train/adamw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "heddle/base/random.h"
#include "heddle/io/safetensors.h"
#include "heddle/train/moment.h"
#include "heddle/train/schedule.h"
#include "tests/io/files.h"

namespace heddle::train {
namespace {

using heddle::testing::expect_refused;

std::vector<Slot> random_slots(int64_t rows, int64_t columns) {
  std::vector<Slot> slots;
  Random random(5);
  for (const Shape& shape : {Shape{rows, columns}, Shape{columns}}) {
    slots.push_back({shape.rank() == 2 ? "matrix" : "bias", Tensor::zeros(shape, DType::f32),
                     Tensor::zeros(shape, DType::f32)});
    for (int64_t i = 0; i < slots.back().value.elements(); ++i) {
      slots.back().value.data<float>()[i] = static_cast<float>(random.normal());
      slots.back().gradient.data<float>()[i] = static_cast<float>(random.normal());
    }
  }
  return slots;
}

TEST(AdamW, EqualsItsDefinitionInDouble) {
  AdamWSettings settings;
  settings.weight_decay = 0.1;
  settings.ema_decay = 0.9;
  std::vector<Slot> slots = random_slots(7, 5);
  AdamW optimizer(slots, settings);
  std::vector<std::vector<double>> w(2), m(2), v(2), ema(2);
  for (size_t s = 0; s < 2; ++s) {
    const float* value = slots[s].value.data<float>();
    w[s].assign(value, value + slots[s].value.elements());
    ema[s] = w[s];
    m[s].resize(w[s].size());
    v[s].resize(w[s].size());
  }
  Random random(9);
  for (int step = 1; step <= 50; ++step) {
    const double rate = 0.01 / step, scale = 0.5;
    for (size_t s = 0; s < 2; ++s) {
      for (size_t i = 0; i < w[s].size(); ++i) {
        const auto gradient = static_cast<float>(random.normal());
        slots[s].gradient.data<float>()[i] = gradient;
        const double g = scale * static_cast<double>(gradient);
        m[s][i] = 0.9 * m[s][i] + 0.1 * g;
        v[s][i] = 0.98 * v[s][i] + 0.02 * g * g;
        if (s == 0) w[s][i] -= rate * 0.1 * w[s][i];  // not the bias
        w[s][i] -= rate * (m[s][i] / (1 - std::pow(0.9, step))) /
                   (std::sqrt(v[s][i] / (1 - std::pow(0.98, step))) + 1e-9);
        ema[s][i] = 0.9 * ema[s][i] + 0.1 * w[s][i];
      }
    }
    optimizer.update(slots, step, rate, scale);
  }
  for (size_t s = 0; s < 2; ++s) {
    for (size_t i = 0; i < w[s].size(); ++i) {
      EXPECT_NEAR(slots[s].value.data<float>()[i], w[s][i], 2e-6);
    }
  }
  optimizer.swap_average(slots);
  for (size_t i = 0; i < w[0].size(); ++i) {
    EXPECT_NEAR(slots[0].value.data<float>()[i], ema[0][i], 2e-6);
  }
  optimizer.swap_average(slots);
  EXPECT_NEAR(slots[0].value.data<float>()[0], w[0][0], 2e-6);
}

TEST(Moment, TheCodeHas256SharesFinestNearZero) {
  for (const bool is_signed : {false, true}) {
    const auto code = dynamic_code(is_signed);
    ASSERT_EQ(code.size(), 256u);
    EXPECT_EQ(code.back(), 1);
    EXPECT_EQ(std::count(code.begin(), code.end(), 0.0f), 1);
    EXPECT_TRUE(std::is_sorted(code.begin(), code.end()));
    EXPECT_EQ(std::adjacent_find(code.begin(), code.end()), code.end());
    EXPECT_EQ(code.front() < 0, is_signed);
  }
}

TEST(Moment, NumbersComeBackNearlyAndZerosExactly) {
  const Shape shape{64, 100};
  Random random(3);
  std::vector<float> given(Moment::kBlock), scratch(Moment::kBlock);
  for (const bool is_signed : {false, true}) {
    Moment moment(shape, 8, is_signed);
    for (const float size : {1.0f, 1e-8f, 3e30f, 1e-44f}) {
      for (float& each : given) {
        const double number = std::exp(3 * random.normal()) * (is_signed ? random.normal() : 1);
        each = size * static_cast<float>(std::clamp(number, -3.0, 3.0));
      }
      given[7] = 0;
      moment.close(256, 512, given.data());
      const float* back = moment.open(256, 512, scratch.data());
      EXPECT_EQ(back[7], 0);
      const float most = std::abs(*std::max_element(
          given.begin(), given.end(), [](float x, float y) { return std::abs(x) < std::abs(y); }));
      double gaps = 0, sizes = 0;
      for (size_t i = 0; i < given.size() && size > 1e-40f; ++i) {
        float nearest = 2;
        for (const float share : dynamic_code(is_signed)) {
          nearest = std::min(nearest, std::abs(share - given[i] / most));
        }
        EXPECT_LE(std::abs(back[i] - given[i]) / most, nearest + 1e-6f) << i;
        gaps += static_cast<double>(std::abs(back[i] - given[i]) / most);
        sizes += static_cast<double>(std::abs(given[i]) / most);
      }
      EXPECT_LE(gaps, 0.02 * sizes);
    }
  }
  Moment small({3, 5}, 8, true);  // stays f32
  float* numbers = small.open(0, 15, nullptr);
  numbers[4] = 0.123456789f;
  EXPECT_EQ(small.open(0, 15, nullptr)[4], 0.123456789f);
}

TEST(AdamW, EightBitsLearnAsWellInAQuarterOfTheMemory) {
  const auto run = [](int bits, size_t* bytes) {
    std::vector<Slot> slots = random_slots(64, 128);
    AdamWSettings settings;
    settings.state_bits = bits;
    AdamW optimizer(slots, settings);
    Random random(11);
    std::vector<float> wanted(64 * 128);
    for (float& each : wanted) each = static_cast<float>(random.normal());
    double loss = 0;
    for (int step = 1; step <= 400; ++step) {
      loss = 0;
      for (size_t i = 0; i < wanted.size(); ++i) {
        const float gap = slots[0].value.data<float>()[i] - wanted[i];
        slots[0].gradient.data<float>()[i] = gap + 0.1f * static_cast<float>(random.normal());
        loss += static_cast<double>(gap) * static_cast<double>(gap);
      }
      optimizer.update(slots, step, 0.02 * (1 - step / 400.0), 1);
    }
    *bytes = 0;
    for (const auto& [name, tensor] : optimizer.state()) {
      *bytes += static_cast<size_t>(tensor.elements()) * size_of(tensor.dtype());
    }
    return loss / static_cast<double>(wanted.size());
  };
  size_t full = 0, eight = 0;
  const double loss = run(32, &full), quantised = run(8, &eight);
  EXPECT_LT(loss, 1e-2);
  EXPECT_LT(quantised, 2 * loss);  // the floor that noise leaves
  EXPECT_LT(static_cast<double>(eight), 0.27 * static_cast<double>(full));
}

class AdamWFile : public heddle::testing::FolderTest {};

TEST_F(AdamWFile, EightBitStateComesBackToTheBit) {
  std::vector<Slot> slots = random_slots(64, 100), others = random_slots(64, 100);
  AdamWSettings settings;
  settings.state_bits = 8;
  AdamW optimizer(slots, settings);
  for (int step = 1; step <= 3; ++step) optimizer.update(slots, step, 0.01, 1);
  io::write_safetensors(path("state"), optimizer.state(), {});
  for (size_t s = 0; s < slots.size(); ++s) {
    std::memcpy(others[s].value.raw(), slots[s].value.raw(),
                static_cast<size_t>(slots[s].value.elements()) * sizeof(float));
  }
  AdamW other(others, settings);
  other.load(path("state"));
  optimizer.update(slots, 4, 0.01, 1);
  other.update(others, 4, 0.01, 1);
  for (size_t s = 0; s < slots.size(); ++s) {
    EXPECT_EQ(std::memcmp(slots[s].value.raw(), others[s].value.raw(),
                          static_cast<size_t>(slots[s].value.elements()) * sizeof(float)),
              0);
  }
  AdamW wide(slots, {});
  EXPECT_THROW(wide.load(path("state")), Error);
  settings.state_bits = 16;
  EXPECT_THROW(AdamW(slots, settings), Error);
}

TEST(AdamW, NU12_StaysFinite) {
  constexpr float kHuge = 1e30F, kTiny = 1e-40F;
  for (const int64_t step : {int64_t{1}, int64_t{2}, int64_t{1} << 24, int64_t{1} << 40}) {
    for (const float gradient : {0.0F, kTiny, -kTiny, 1.0F, kHuge, -kHuge}) {
      std::vector<Slot> slots = random_slots(4, 4);
      AdamW optimizer(slots, {});
      for (Slot& slot : slots) {
        std::fill_n(slot.gradient.data<float>(), slot.gradient.elements(), gradient);
      }
      for (int64_t i = 0; i < 3; ++i) optimizer.update(slots, step + i, 1e-3, 1.0);
      for (const Slot& slot : slots) {
        for (int64_t i = 0; i < slot.value.elements(); ++i) {
          EXPECT_TRUE(std::isfinite(slot.value.data<float>()[i])) << step << " " << gradient;
        }
      }
    }
  }
  // Without a gradient nothing moves.
  std::vector<Slot> slots = random_slots(4, 4);
  const float before = slots[0].value.data<float>()[3];
  std::memset(slots[0].gradient.raw(), 0, 64);
  AdamW(slots, {}).update(slots, 1, 1e-3, 1.0);
  EXPECT_EQ(slots[0].value.data<float>()[3], before);
}

TEST(AdamW, ThreadsDoNotChangeBits) {
  std::vector<Slot> a = random_slots(700, 300), b = random_slots(700, 300);
  ThreadPool threads(3);
  EXPECT_EQ(gradient_norm(a), gradient_norm(b, &threads));
  AdamW first(a, {}), second(b, {});
  for (int step = 1; step < 4; ++step) {
    first.update(a, step, 1e-3, 0.7);
    second.update(b, step, 1e-3, 0.7, &threads);
  }
  for (size_t s = 0; s < 2; ++s) {
    EXPECT_EQ(std::memcmp(a[s].value.raw(), b[s].value.raw(),
                          static_cast<size_t>(a[s].value.elements()) * 4),
              0);
  }
}

TEST(AdamW, NormsTellWhatIsNotFinite) {
  std::vector<Slot> slots = random_slots(100, 100);
  double sum = 0;
  for (const Slot& slot : slots) {
    for (int64_t i = 0; i < slot.gradient.elements(); ++i) {
      sum += std::pow(static_cast<double>(slot.gradient.data<float>()[i]), 2);
    }
  }
  EXPECT_NEAR(gradient_norm(slots), std::sqrt(sum), 1e-9);
  EXPECT_EQ(first_not_finite(slots), "");
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    slots[1].gradient.data<float>()[7] = bad;
    EXPECT_FALSE(std::isfinite(gradient_norm(slots)));
    EXPECT_EQ(first_not_finite(slots), "bias");
  }
}

class AdamWState : public heddle::testing::FolderTest {};

TEST_F(AdamWState, ComesBackToTheBit) {
  AdamWSettings settings;
  settings.ema_decay = 0.99;
  std::vector<Slot> a = random_slots(5, 3), b = random_slots(5, 3);
  AdamW first(a, settings), second(b, settings);
  first.update(a, 1, 1e-2, 1);
  io::write_safetensors(path("optimizer.safetensors"), first.state());
  second.load(path("optimizer.safetensors"));
  for (size_t s = 0; s < 2; ++s) {
    std::memcpy(b[s].value.raw(), a[s].value.raw(), static_cast<size_t>(a[s].value.elements()) * 4);
  }
  first.update(a, 2, 1e-2, 1);
  second.update(b, 2, 1e-2, 1);
  EXPECT_EQ(std::memcmp(a[0].value.raw(), b[0].value.raw(), 60), 0);
  std::vector<Slot> other = random_slots(4, 3);
  AdamW third(other, settings);
  expect_refused([&] { third.load(path("optimizer.safetensors")); },
                 {"matrix", "[5, 3]", "[4, 3]"});
  AdamW plain(b, {});
  expect_refused([&] { plain.load(path("optimizer.safetensors")); },
                 {"found 6 tensors", "expected 4"});
}

TEST(Schedule, Curves) {
  Schedule schedule{Curve::inverse_sqrt, 1e-3, 100, 0, 0};
  EXPECT_DOUBLE_EQ(schedule.rate(1), 1e-5);
  EXPECT_DOUBLE_EQ(schedule.rate(50), 5e-4);
  EXPECT_DOUBLE_EQ(schedule.rate(100), 1e-3);
  EXPECT_DOUBLE_EQ(schedule.rate(400), 5e-4);
  schedule = {Curve::linear, 1e-3, 100, 300, 0};
  EXPECT_DOUBLE_EQ(schedule.rate(200), 5e-4);
  EXPECT_DOUBLE_EQ(schedule.rate(300), 0);
  EXPECT_DOUBLE_EQ(schedule.rate(1000), 0);
  schedule = {Curve::cosine, 1e-3, 0, 100, 1e-4};
  EXPECT_DOUBLE_EQ(schedule.rate(0), 1e-3);
  EXPECT_NEAR(schedule.rate(50), 5.5e-4, 1e-12);
  EXPECT_NEAR(schedule.rate(100), 1e-4, 1e-12);
  schedule = {Curve::constant, 1e-3, 10, 0, 0};
  EXPECT_DOUBLE_EQ(schedule.rate(5), 5e-4);
  EXPECT_DOUBLE_EQ(schedule.rate(5000), 1e-3);
  for (const Curve curve : {Curve::constant, Curve::linear, Curve::cosine, Curve::inverse_sqrt}) {
    EXPECT_EQ(curve_of(name_of(curve)), curve);
  }
  expect_refused([] { curve_of("square"); }, {"lr_scheduler_type", "'square'"});
  expect_refused([] { Schedule{Curve::linear, 1, 10, 10, 0}.check(); }, {"ends at step 10"});
}

}  // namespace
}  // namespace heddle::train
