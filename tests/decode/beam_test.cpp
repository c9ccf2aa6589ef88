// Beam search against all translations there are, on vocabularies small enough to write them down.
#include "heddle/decode/beam.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "heddle/decode/scheduler.h"
#include "tests/decode/fake_engine.h"

namespace heddle::decode {
namespace {

using test::FakeEngine;
using test::FakeSize;

struct Scored {
  std::vector<int32_t> tokens;
  double score;
  bool ended;
};

/// Every translation of up to `limit` tokens, best first.
std::vector<Scored> all_translations(const FakeEngine& engine, const std::vector<int32_t>& source,
                                     int64_t limit, double length_penalty) {
  struct Open {
    std::vector<int32_t> fed, tokens;
    double total;
  };
  std::vector<Open> open{{{engine.start()}, {}, 0}};
  std::vector<Scored> done;
  std::vector<float> row(static_cast<size_t>(engine.vocabulary()));
  for (int64_t length = 1; length <= limit; ++length) {
    std::vector<Open> next;
    for (const Open& item : open) {
      engine.fill(source, item.fed, row);
      log_softmax(row);
      for (int32_t token = 0; token < engine.vocabulary(); ++token) {
        const double total = item.total + double{row[static_cast<size_t>(token)]};
        if (token == engine.end()) {
          const double divisor = std::pow(static_cast<double>(length), length_penalty);
          done.push_back({item.tokens, total / divisor, true});
          continue;
        }
        Open longer = item;
        longer.fed.push_back(token);
        longer.tokens.push_back(token);
        longer.total = total;
        next.push_back(std::move(longer));
      }
    }
    open = std::move(next);
  }
  for (const Open& item : open) {
    done.push_back(
        {item.tokens, item.total / std::pow(static_cast<double>(limit), length_penalty), false});
  }
  std::stable_sort(done.begin(), done.end(),
                   [](const Scored& a, const Scored& b) { return a.score > b.score; });
  return done;
}

Result search(const FakeSize& size, const std::vector<int32_t>& source, const Options& options) {
  FakeEngine engine(size);
  Scheduler scheduler(engine, {});
  scheduler.submit({.source = source, .options = std::make_shared<const Options>(options)});
  std::vector<Result> results;
  while (!scheduler.idle()) scheduler.step(results);
  return std::move(results.at(0));
}

Options wide_options(double length_penalty) {
  Options options;
  options.beam = 64;
  options.n_best = 5;
  options.length_penalty = length_penalty;
  options.max_length_factor = 1;
  options.max_length_extra = 1;  // sources of two tokens: limit 3
  return options;
}

TEST(Beam, WideBeamFindsTheBestOfAll) {
  for (const double penalty : {0.0, 0.6, 1.0}) {
    for (int32_t first = 1; first < 30; ++first) {
      const FakeSize size{.rows = 64, .vocabulary = 4};  // 4³ translations at most
      const std::vector<int32_t> source{first, 0};
      const FakeEngine engine(size);
      const std::vector<Scored> all = all_translations(engine, source, 3, penalty);
      const Result result = search(size, source, wide_options(penalty));
      ASSERT_EQ(result.hypotheses.size(), 5u);
      for (size_t rank = 0; rank < 5; ++rank) {
        const Hypothesis& found = result.hypotheses[rank];
        EXPECT_EQ(found.tokens, all[rank].tokens);
        EXPECT_NEAR(found.score, all[rank].score, 1e-5);
        EXPECT_EQ(found.ended, all[rank].ended);
      }
    }
  }
}

TEST(Beam, WiderBeamsAndPatienceAreNoWorseOnTheWhole) {
  double narrow = 0, wide = 0, patient = 0;
  for (int32_t first = 1; first < 200; ++first) {
    const std::vector<int32_t> source{first, 5, 0};
    Options options;
    options.beam = 2;
    narrow += search({}, source, options).hypotheses[0].score;
    options.patience = 3;
    patient += search({}, source, options).hypotheses[0].score;
    options.patience = 1;
    options.beam = 6;
    wide += search({}, source, options).hypotheses[0].score;
  }
  EXPECT_GT(wide, narrow);
  EXPECT_GT(patient, narrow);
}

TEST(Beam, TokenScoresAddUp) {
  Options options;
  options.beam = 4;
  options.n_best = 4;
  options.scores = true;
  options.length_penalty = 0.8;
  for (int32_t first = 1; first < 30; ++first) {
    const Result result = search({}, {first, 0}, options);
    double last = std::numeric_limits<double>::infinity();
    for (const Hypothesis& hypothesis : result.hypotheses) {
      double sum = 0;
      for (const float score : hypothesis.token_scores) sum += score;
      EXPECT_NEAR(sum, hypothesis.log_probability, 1e-4);
      const auto length = static_cast<double>(hypothesis.token_scores.size());
      EXPECT_NEAR(hypothesis.score, sum / std::pow(length, 0.8), 1e-4);
      EXPECT_LE(hypothesis.score, last);
      last = hypothesis.score;
    }
  }
}

TEST(Beam, AlignmentsFollowTheirHypothesis) {
  Options options;
  options.beam = 3;
  options.n_best = 3;
  options.alignments = true;
  const Result result = search({}, {4, 5, 6, 0}, options);
  for (const Hypothesis& hypothesis : result.hypotheses) {
    EXPECT_EQ(hypothesis.alignment.size(),
              (hypothesis.tokens.size() + (hypothesis.ended ? 1 : 0)) * 4);
  }
}

}  // namespace
}  // namespace heddle::decode
