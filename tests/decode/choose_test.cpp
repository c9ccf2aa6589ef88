// Choices from plain rows of logits.
#include "heddle/decode/choose.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "heddle/base/random.h"

namespace heddle::decode {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(Choose, ForbidsWhatIsNoCandidateOrBanned) {
  std::vector<float> row{1, 2, 3, 4, 5};
  const std::vector<int32_t> candidates{0, 2, 3}, banned{2};
  forbid(row, candidates, banned);
  EXPECT_EQ(row, (std::vector<float>{1, kNever, kNever, 4, kNever}));
  std::vector<float> all{1, 2};
  forbid(all, {}, {});
  EXPECT_EQ(all, (std::vector<float>{1, 2}));
}

TEST(Choose, LogSoftmaxSumsToOne) {
  std::vector<float> row{100, 101, kNever, 99};
  log_softmax(row);
  double sum = 0;
  for (const float value : row) sum += std::exp(double{value});
  EXPECT_NEAR(sum, 1, 1e-5);
  EXPECT_EQ(row[2], kNever);
  std::vector<float> none{kNever, kNever};
  log_softmax(none);
  EXPECT_EQ(none, (std::vector<float>{kNever, kNever}));
}

TEST(Choose, BestOfKeepsOrderAndLowerTokenAtTies) {
  const std::vector<float> row{1, 5, kNaN, 5, 3, kNever};
  std::vector<Choice> choices(6);
  best_of(row, choices);
  const std::vector<int32_t> expected{1, 3, 4, 0, -1, -1};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(choices[i].token, expected[i]) << i;
}

TEST(Choose, BestOfEqualsSorting) {
  Random random(3);
  for (int run = 0; run < 200; ++run) {
    std::vector<float> row(static_cast<size_t>(random.between(1, 40)));
    for (float& value : row) value = static_cast<float>(random.below(9));
    std::vector<Choice> sorted;
    for (size_t i = 0; i < row.size(); ++i) sorted.push_back({static_cast<int32_t>(i), row[i]});
    std::stable_sort(sorted.begin(), sorted.end(), [](const Choice& a, const Choice& b) {
      return a.log_probability > b.log_probability;
    });
    std::vector<Choice> choices(static_cast<size_t>(random.between(1, std::ssize(row))));
    best_of(row, choices);
    for (size_t i = 0; i < choices.size(); ++i) ASSERT_EQ(choices[i].token, sorted[i].token);
  }
}

TEST(Choose, PenaltyMakesWrittenTokensLessLikelyOnce) {
  std::vector<float> row{2, -2, 2, 0};
  const std::vector<int32_t> written{0, 1, 0, 3};
  penalise(row, written, 2);
  EXPECT_EQ(row, (std::vector<float>{1, -4, 2, 0}));
}

TEST(Choose, RepeatedNgrams) {
  std::vector<int32_t> banned;
  const std::vector<int32_t> written{7, 8, 9, 7, 8, 5, 7, 8};
  repeated_ngrams(written, 3, banned);
  EXPECT_EQ(banned, (std::vector<int32_t>{5, 9}));
  banned.clear();
  repeated_ngrams(written, 1, banned);
  EXPECT_EQ(banned, (std::vector<int32_t>{5, 7, 8, 9}));
  banned.clear();
  repeated_ngrams(std::vector<int32_t>{1, 2}, 3, banned);
  repeated_ngrams({}, 2, banned);
  EXPECT_TRUE(banned.empty());
}

TEST(Choose, DrawFollowsProbabilities) {
  // p = 0.5, 0.25, 0.25; at temperature 0.5 they become 4 : 1 : 1.
  const std::vector<Choice> choices{
      {3, std::log(0.5f)}, {1, std::log(0.25f)}, {2, std::log(0.25f)}};
  const auto share = [&](double temperature, double top_p, size_t wanted) {
    constexpr int kDraws = 20000;
    int hits = 0;
    for (int i = 0; i < kDraws; ++i) {
      hits +=
          draw(choices, {.temperature = temperature, .top_p = top_p}, (i + 0.5) / kDraws) == wanted
              ? 1
              : 0;
    }
    return static_cast<double>(hits) / kDraws;
  };
  EXPECT_NEAR(share(1, 1, 0), 0.5, 1e-3);
  EXPECT_NEAR(share(1, 1, 2), 0.25, 1e-3);
  EXPECT_NEAR(share(0.5, 1, 0), 4.0 / 6, 1e-3);
  EXPECT_NEAR(share(1, 0.5, 0), 1, 1e-9);
  EXPECT_NEAR(share(1, 0.7, 0), 2.0 / 3, 1e-3);
  EXPECT_NEAR(share(1, 0.7, 2), 0, 1e-9);
}

TEST(Choose, DrawsAmongManyAsAmongTheBest) {
  std::vector<float> logits(3000);
  Random random(5);
  for (float& logit : logits) logit = static_cast<float>(3 * random.normal());
  logits[7] = kNever;
  std::vector<Choice> all(logits.size());
  best_of(logits, all);
  for (const Sampling& sampling :
       {Sampling{}, Sampling{.temperature = 3}, Sampling{.top_k = 5}, Sampling{.top_p = 0.9},
        Sampling{.top_k = 200, .top_p = 0.5}, Sampling{.min_p = 0.1},
        Sampling{.temperature = 2, .top_k = 50, .top_p = 0.99, .min_p = 0.02}}) {
    const size_t kept = sampling.top_k > 0 ? static_cast<size_t>(sampling.top_k) : all.size();
    for (int i = 0; i < 200; ++i) {
      const double u = (i + 0.5) / 200;
      const std::span<const Choice> best = std::span(all).first(kept);
      EXPECT_EQ(draw_among(logits, sampling, u).token, best[draw(best, sampling, u)].token);
    }
  }
  EXPECT_EQ(draw_among(std::vector<float>(4, kNever), {}, 0.5).token, -1);
}

TEST(Choose, MinPKeepsAShareOfTheBest) {
  const std::vector<Choice> choices{{4, 0}, {2, std::log(0.5f)}, {9, std::log(0.1f)}};
  EXPECT_EQ(draw(choices, {.min_p = 0.2}, 0.999), 1u);
  EXPECT_EQ(draw(choices, {.min_p = 0.05}, 0.999), 2u);
  EXPECT_EQ(draw(choices, {.min_p = 1}, 0.999), 0u);
}

}  // namespace
}  // namespace heddle::decode
