#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <set>
#include <vector>

#include "heddle/base/dtype.h"
#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/base/threads.h"

namespace heddle {
namespace {

TEST(Error, JoinsItsParts) {
  EXPECT_EQ(str("T=", 5, ", ok=", true, ", x=", 0.5, ' ', std::string("end"), uint64_t{7}),
            "T=5, ok=true, x=0.5 end7");
  EXPECT_EQ(str(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
  try {
    HEDDLE_CHECK(1 + 1 == 3, "sum: found ", 2, "; expected ", 3);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "sum: found 2; expected 3");
  }
}

/// The nearest of all finite Float16 values, ties to even, found by search.
uint16_t nearest_half(float value) {
  uint16_t best = 0;
  double distance = std::numeric_limits<double>::infinity();
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    Float16 half;
    half.bits = static_cast<uint16_t>(bits);
    const double d = std::abs(double{static_cast<float>(half)} - std::abs(value));
    if (d < distance || (d == distance && bits % 2 == 0)) {
      best = half.bits;
      distance = d;
    }
  }
  if (std::abs(value) >= 65520.0f) best = 0x7c00;
  return static_cast<uint16_t>(best | (std::signbit(value) ? 0x8000 : 0));
}

TEST(Half, RoundsToNearestEven) {
  Random random(1);
  std::vector<float> values = {0.0f,     -0.0f,      1.0f,    65504.0f, 65519.9f, 65520.0f,
                               1e9f,     6e-8f,      2.9e-8f, 3.0e-8f,  -6.1e-5f, 0x1.ffcp-15f,
                               0x1p-25f, 0x1.8p-24f, 2049.0f, 2051.0f};
  for (int i = 0; i < 150; ++i) {
    values.push_back(static_cast<float>(random.normal() * std::exp(random.normal() * 5)));
  }
  for (const float value : values) EXPECT_EQ(Float16(value).bits, nearest_half(value)) << value;
}

TEST(Half, EveryValueRoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    Float16 half;
    BFloat16 brain;
    half.bits = brain.bits = static_cast<uint16_t>(bits);
    const float h = static_cast<float>(half), b = static_cast<float>(brain);
    if (std::isnan(h)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(Float16(h))));
    } else {
      EXPECT_EQ(Float16(h).bits, bits);
    }
    if (std::isnan(b)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(b))));
    } else {
      EXPECT_EQ(BFloat16(b).bits, bits);
    }
  }
}

TEST(Half, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(BFloat16(1.0f + 0x1p-8f).bits, 0x3f80);    // tie: down to even
  EXPECT_EQ(BFloat16(1.0f + 0x1.8p-7f).bits, 0x3f82);  // tie: up to even
  EXPECT_EQ(BFloat16(std::bit_cast<float>(0x3f808001u)).bits, 0x3f81);
  EXPECT_EQ(BFloat16(std::numeric_limits<float>::max()).bits, 0x7f80);  // overflows to infinity
  EXPECT_EQ(BFloat16(-std::numeric_limits<float>::infinity()).bits, 0xff80);
}

TEST(DTypes, SizesAndNames) {
  EXPECT_EQ(size_of(DType::f64), 8u);
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(name_of(DType::u8), "u8");
  EXPECT_EQ(dtype_of<BFloat16>, DType::bf16);
  EXPECT_EQ(dtype_of<int64_t>, DType::i64);
}

TEST(RandomNumbers, MatchThePublishedPhiloxVectors) {
  // Known answers of Random123, philox4x32-10.
  const std::array<uint32_t, 4> zeros = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const std::array<uint32_t, 4> ones = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), zeros);
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), ones);
}

TEST(RandomNumbers, StreamsDifferAndRepeat) {
  Random a(9, 1), b(9, 1), c(9, 2);
  bool differs = false;
  for (int i = 0; i < 10; ++i) {
    const uint32_t x = a.next();
    EXPECT_EQ(x, b.next());
    differs = differs || x != c.next();
  }
  EXPECT_TRUE(differs);
}

TEST(RandomNumbers, KeepTheirRangesAndMoments) {
  Random random(3);
  double sum = 0, squares = 0, uniform = 0;
  std::set<int64_t> seen;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.normal(), u = random.uniform();
    sum += x;
    squares += x * x;
    uniform += u;
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    const int64_t n = random.between(-2, 2);
    ASSERT_LE(std::abs(n), 2);
    seen.insert(n);
  }
  EXPECT_EQ(seen.size(), 5u);
  EXPECT_NEAR(sum / kDraws, 0, 0.03);
  EXPECT_NEAR(squares / kDraws, 1, 0.05);
  EXPECT_NEAR(uniform / kDraws, 0.5, 0.01);
  EXPECT_EQ(random.below(1), 0u);
}

TEST(Threads, VisitEveryIndexOnceInAnyPool) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t count : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      pool.parallel_for(count, [&](int64_t index, int thread) {
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, threads);
        ++visits[static_cast<size_t>(index)];
      });
      for (const auto& visit : visits) EXPECT_EQ(visit, 1);
    }
  }
}

TEST(Threads, PassOnTheFirstExceptionAndGoOn) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(
                   100, [](int64_t index, int) { HEDDLE_CHECK(index != 40, "index ", index); }),
               Error);
  std::atomic<int> visits = 0;
  pool.parallel_for(10, [&](int64_t, int) { ++visits; });
  EXPECT_EQ(visits, 10);
  EXPECT_THROW(ThreadPool(-1), Error);
}

TEST(Threads, LoopsFromManyThreadsWaitForEachOther) {
  ThreadPool pool(2), callers(4);
  std::atomic<int> visits = 0;
  callers.parallel_for(
      40, [&](int64_t, int) { pool.parallel_for(10, [&](int64_t, int) { ++visits; }); });
  EXPECT_EQ(visits, 400);
}

}  // namespace
}  // namespace heddle
