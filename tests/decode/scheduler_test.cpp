// The scheduler's policy on an engine that computes nothing and a clock that stands still.
#include "heddle/decode/scheduler.h"

#include <gtest/gtest.h>

#include "heddle/base/error.h"
#include "tests/decode/fake_engine.h"

namespace heddle::decode {
namespace {

using test::FakeEngine;
using test::random_request;

TEST(Admission, TakesFromTheFrontWhatFits) {
  const AdmissionPolicy policy{.encode_tokens = 10, .refill_rows = 1};
  const std::vector<Demand> waiting{{4, 1}, {4, 1}, {4, 1}, {1, 1}};
  EXPECT_EQ(admissible(policy, {0, 8, 100}, waiting), 2);  // 12 tokens would be too many
  EXPECT_EQ(admissible(policy, {0, 1, 100}, waiting), 1);  // rows
  EXPECT_EQ(admissible(policy, {0, 8, 7}, waiting), 1);    // room for sources
  EXPECT_EQ(admissible(policy, {0, 8, 3}, waiting), 0);    // the first is not skipped
  EXPECT_EQ(admissible(policy, {0, 8, 100}, {}), 0);
}

TEST(Admission, LongSentenceGoesAlone) {
  const AdmissionPolicy policy{.encode_tokens = 10, .refill_rows = 1};
  EXPECT_EQ(admissible(policy, {0, 8, 100}, std::vector<Demand>{{50, 1}, {1, 1}}), 1);
  EXPECT_EQ(admissible(policy, {0, 8, 100}, std::vector<Demand>{{1, 1}, {50, 1}}), 1);
}

TEST(Admission, WaitsForTheRefillWhileRowsLive) {
  const AdmissionPolicy policy{.encode_tokens = 100, .refill_rows = 4};
  const std::vector<Demand> waiting{{1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
  EXPECT_EQ(admissible(policy, {5, 3, 100}, waiting), 0);
  EXPECT_EQ(admissible(policy, {4, 4, 100}, waiting), 4);
  EXPECT_EQ(admissible(policy, {0, 3, 100}, waiting), 3);
}

TEST(Admission, BeamsTakeTheirRows) {
  const AdmissionPolicy policy{.encode_tokens = 100, .refill_rows = 1};
  EXPECT_EQ(admissible(policy, {0, 8, 100}, std::vector<Demand>{{1, 4}, {1, 4}, {1, 1}}), 2);
  EXPECT_EQ(admissible(policy, {0, 8, 100}, std::vector<Demand>{{1, 5}, {1, 4}, {1, 1}}), 1);
}

/// Steps until all is done; results by id.
std::map<uint64_t, Result> finish(Scheduler& scheduler) {
  std::vector<Result> results;
  for (int step = 0; !scheduler.idle(); ++step) {
    EXPECT_LT(step, 100'000);
    scheduler.step(results);
  }
  std::map<uint64_t, Result> by_id;
  for (Result& result : results) {
    const uint64_t id = result.id;
    EXPECT_TRUE(by_id.emplace(id, std::move(result)).second);
  }
  return by_id;
}

std::string text_of(const Result& result) {
  std::string text;
  for (const Hypothesis& hypothesis : result.hypotheses) {
    for (const int32_t token : hypothesis.tokens) text += str(token, " ");
    text += str("| ", hypothesis.score, " ", hypothesis.ended, " ");
    for (const float score : hypothesis.token_scores) text += str(score, " ");
    text += str(hypothesis.alignment.size(), "\n");
  }
  return text;
}

/// Requests of every kind.
std::vector<Request> mixed_requests(int count) {
  std::vector<Options> kinds(9);
  kinds[1].beam = 3;
  kinds[1].n_best = 2;
  kinds[2].sampling = {.enabled = true, .top_k = 4, .seed = 5};
  kinds[3].sampling = {.enabled = true, .temperature = 0.7, .top_p = 0.9};
  kinds[3].n_best = 2;
  kinds[4].scores = true;
  kinds[4].alignments = true;
  kinds[5].repetition = {.penalty = 1.5, .no_repeat_ngram = 2};
  kinds[6].beam = 2;
  kinds[6].repetition.no_repeat_ngram = 1;
  kinds[7].min_length = 4;
  kinds[8].beam = 4;
  kinds[8].patience = 2;
  kinds[8].scores = true;
  Random random(11);
  std::vector<Request> requests;
  for (int i = 0; i < count; ++i) {
    const size_t kind = random.below(kinds.size());
    requests.push_back(random_request(random, static_cast<uint64_t>(i), kinds[kind]));
    if (random.below(4) == 0) requests.back().prefix = {3, 5};
  }
  return requests;
}

TEST(Scheduler, CompanyChangesNothing) {
  const std::vector<Request> requests = mixed_requests(120);
  std::map<uint64_t, std::string> alone;
  for (const Request& request : requests) {
    FakeEngine engine;
    Scheduler scheduler(engine, {});
    scheduler.submit(request);
    alone[request.id] = text_of(finish(scheduler).at(request.id));
    EXPECT_FALSE(alone[request.id].empty());
  }
  Random random(4);
  for (const int rows : {4, 5, 16, 64}) {
    for (const int refill : {1, 3}) {
      FakeEngine engine({.rows = rows, .source_tokens = rows * 6});
      Scheduler scheduler(engine, {.admission = {.encode_tokens = 12, .refill_rows = refill}});
      std::vector<Request> order = requests;
      for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
      std::vector<Result> results;
      for (const Request& request : order) {  // they come while others are written
        scheduler.submit(request);
        for (uint64_t n = random.below(4); n > 0; --n) scheduler.step(results);
      }
      while (!scheduler.idle()) scheduler.step(results);
      ASSERT_EQ(results.size(), requests.size());
      for (const Result& result : results) ASSERT_EQ(text_of(result), alone[result.id]);
    }
  }
}

TEST(Scheduler, OtherSeedsAndKeysGiveOtherSamples) {
  Options options;
  options.sampling = {.enabled = true, .seed = 1};
  std::set<std::string> texts;
  for (uint64_t key = 0; key < 20; ++key) {
    FakeEngine engine;
    Scheduler scheduler(engine, {});
    Request request{.source = {4, 5, 6, 0},
                    .options = std::make_shared<const Options>(options),
                    .random_key = key};
    scheduler.submit(request);
    texts.insert(text_of(finish(scheduler).at(0)));
  }
  EXPECT_GT(texts.size(), 15u);
}

TEST(Scheduler, RowsLeaveAndEnterAtEachStep) {
  FakeEngine engine({.rows = 4, .source_tokens = 100});
  Scheduler scheduler(engine, {.admission = {.encode_tokens = 100, .refill_rows = 1}});
  Random random(8);
  for (uint64_t id = 0; id < 40; ++id) scheduler.submit(random_request(random, id, {}));
  std::vector<Result> results;
  while (scheduler.waiting() > 0) {
    scheduler.step(results);
    EXPECT_EQ(engine.stepped.back(), 4) << "an idle row while requests wait";
  }
  while (!scheduler.idle()) scheduler.step(results);
  EXPECT_EQ(results.size(), 40u);
}

TEST(Scheduler, ForcedPrefixBeginsTheTarget) {
  for (const int beam : {1, 3}) {
    Options options;
    options.beam = beam;
    FakeEngine engine;
    Scheduler scheduler(engine, {});
    Request request{
        .source = {4, 0}, .prefix = {7, 7, 2}, .options = std::make_shared<const Options>(options)};
    scheduler.submit(request);
    const std::vector<int32_t> tokens = finish(scheduler).at(0).hypotheses[0].tokens;
    ASSERT_GE(tokens.size(), 3u);
    EXPECT_EQ(std::vector<int32_t>(tokens.begin(), tokens.begin() + 3), request.prefix);
  }
}

TEST(Scheduler, LengthLimits) {
  Options options;
  options.max_length_factor = 2;
  options.max_length_extra = 1;
  FakeEngine engine({.end_bonus = -1000});
  Scheduler scheduler(engine, {});
  Request request{.source = {4, 5, 0}, .options = std::make_shared<const Options>(options)};
  scheduler.submit(request);
  const Hypothesis hypothesis = finish(scheduler).at(0).hypotheses[0];
  EXPECT_EQ(hypothesis.tokens.size(), 7u);
  EXPECT_FALSE(hypothesis.ended);

  options.min_length = 5;
  FakeEngine eager({.end_bonus = 1000});
  Scheduler other(eager, {});
  request.options = std::make_shared<const Options>(options);
  other.submit(request);
  const Hypothesis least = finish(other).at(0).hypotheses[0];
  EXPECT_EQ(least.tokens.size(), 5u);
  EXPECT_TRUE(least.ended);
}

TEST(Scheduler, NoNgramTwice) {
  Options options;
  options.repetition.no_repeat_ngram = 2;
  options.max_length_extra = 40;
  Random random(6);
  for (uint64_t id = 0; id < 20; ++id) {
    FakeEngine engine({.vocabulary = 12, .end_bonus = -3});
    Scheduler scheduler(engine, {});
    scheduler.submit(random_request(random, id, options));
    const std::vector<int32_t> tokens = finish(scheduler).at(id).hypotheses[0].tokens;
    std::set<std::pair<int32_t, int32_t>> pairs;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      EXPECT_TRUE(pairs.emplace(tokens[i], tokens[i + 1]).second);
    }
  }
}

TEST(Scheduler, CancelFreesSlotsAtOnce) {
  Options beam;
  beam.beam = 4;
  Options endless = beam;
  endless.min_length = 1000;
  endless.max_length_extra = 2000;
  FakeEngine engine({.rows = 8});
  Scheduler scheduler(engine, {.admission = {.refill_rows = 1}});
  Random random(2);
  for (uint64_t id = 0; id < 3; ++id) scheduler.submit(random_request(random, id, endless));
  std::vector<Result> results;
  for (int step = 0; step < 5; ++step) scheduler.step(results);
  EXPECT_EQ(scheduler.live_rows(), 8);
  EXPECT_EQ(scheduler.waiting(), 1u);
  EXPECT_TRUE(scheduler.cancel(2));  // waiting
  EXPECT_TRUE(scheduler.cancel(0));  // live
  EXPECT_FALSE(scheduler.cancel(0));
  EXPECT_FALSE(scheduler.cancel(77));
  EXPECT_EQ(scheduler.live_rows(), 4);
  scheduler.step(results);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].status, Status::cancelled);
  scheduler.cancel(1);
  scheduler.step(results);
  EXPECT_TRUE(scheduler.idle());
}

TEST(Scheduler, DeadlinesDropWaitingAndLiveRequests) {
  Clock::time_point now{};
  FakeEngine engine({.rows = 1});
  Scheduler scheduler(engine, {.now = [&now] { return now; }});
  Options endless;
  endless.min_length = 1000;
  endless.max_length_extra = 2000;
  Random random(2);
  for (uint64_t id = 0; id < 3; ++id) {
    Request request = random_request(random, id, endless);
    request.deadline = now + std::chrono::seconds(id == 1 ? 1 : 5);
    scheduler.submit(request);
  }
  std::vector<Result> results;
  scheduler.step(results);
  EXPECT_TRUE(results.empty());
  now += std::chrono::seconds(1);
  scheduler.step(results);
  ASSERT_EQ(results.size(), 1u);  // the waiting one
  EXPECT_EQ(results[0].id, 1u);
  EXPECT_EQ(results[0].status, Status::expired);
  now += std::chrono::seconds(4);
  scheduler.step(results);
  EXPECT_EQ(results.size(), 3u);
  EXPECT_TRUE(scheduler.idle());
}

TEST(Scheduler, RefusesWhatCouldNeverRun) {
  FakeEngine engine({.rows = 4, .source_tokens = 6});
  Scheduler scheduler(engine, {});
  Options wide;
  wide.beam = 5;
  const auto options = std::make_shared<const Options>();
  EXPECT_THROW(scheduler.submit({.source = {1, 0}}), Error);
  EXPECT_THROW(scheduler.submit({.options = options}), Error);
  EXPECT_THROW(scheduler.submit({.source = {1, 1, 1, 1, 1, 1, 0}, .options = options}), Error);
  EXPECT_THROW(scheduler.submit({.source = {1, 0}, .prefix = {0}, .options = options}), Error);
  EXPECT_THROW(scheduler.submit({.source = {1, 0}, .prefix = {12}, .options = options}), Error);
  EXPECT_THROW(
      scheduler.submit({.source = {1, 0}, .options = std::make_shared<const Options>(wide)}),
      Error);
  EXPECT_TRUE(scheduler.idle());
}

TEST(Options, RefusesNonsense) {
  const auto refused = [](const auto& change) {
    Options options;
    change(options);
    EXPECT_THROW(options.check(), Error);
  };
  Options().check();
  refused([](Options& o) { o.beam = 0; });
  refused([](Options& o) { o.beam = 65; });
  refused([](Options& o) { o.n_best = 2; });
  refused([](Options& o) { o.sampling.temperature = 0; });
  refused([](Options& o) { o.sampling.top_p = 0; });
  refused([](Options& o) { o.sampling.top_p = 1.1; });
  refused([](Options& o) { o.sampling.top_k = -1; });
  refused([](Options& o) { o.patience = 0.5; });
  refused([](Options& o) { o.repetition.penalty = 0; });
  refused([](Options& o) { o.max_length_factor = 0; });
  refused([](Options& o) {
    o.beam = 2;
    o.sampling.enabled = true;
  });
}

}  // namespace
}  // namespace heddle::decode
