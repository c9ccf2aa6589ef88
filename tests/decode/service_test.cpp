// Many who ask at once: who is taken, who is refused, whose turn it is, and that everyone gets what
// is theirs.
#include "heddle/decode/service.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/decode/held_service.h"

namespace heddle::decode {
namespace {

using namespace std::chrono_literals;

using test::ServiceTest;
using test::Told;

TEST_F(ServiceTest, EveryLineAsAlone) {
  start(3);
  std::vector<std::string> lines{"", "   ", "\t", "!!!", std::string(500, 'x'), "the cat"};
  for (int i = 0; i < 60; ++i) lines.push_back(line_of(i));
  Told all, again, nothing;
  submit(all, lines);
  submit(again, {lines.rbegin(), lines.rend()}, "b");
  submit(nothing, {});
  EXPECT_EQ(nothing.wait().end, End::finished);
  const Outcome outcome = all.wait();
  again.wait();
  EXPECT_EQ(outcome.end, End::finished);
  EXPECT_GT(outcome.usage.target_tokens, 0);
  ASSERT_EQ(all.lines.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(all.lines[i], alone(lines[i])) << lines[i];
    EXPECT_EQ(again.lines[lines.size() - 1 - i], all.lines[i]);
  }
  EXPECT_EQ(service_->queue_tokens(), 0);
  EXPECT_EQ(service_->open_submissions(), 0u);
}

TEST_F(ServiceTest, Ld02TheQueueLimitIsExact) {
  const std::string line = "the cat";
  const int64_t cost = FairQueue::estimate(line);
  constexpr int kFits = 20, kMore = 7;
  start(1, {.queue_tokens = kFits * cost});
  std::vector<Told> told(1 + kFits + kMore);
  occupy(told[0]);
  for (int i = 1; i <= kFits + kMore; ++i) {
    const Verdict expected = i <= kFits ? Verdict::accepted : Verdict::full;
    EXPECT_EQ(submit(told[static_cast<size_t>(i)], {line}).verdict, expected) << i;
  }
  EXPECT_EQ(service_->queue_tokens(), kFits * cost);
  Told large;
  EXPECT_EQ(submit(large, std::vector<std::string>(kFits + 1, line)).verdict, Verdict::too_large);
  gate_.hold(false);
  for (size_t i = 0; i <= kFits; ++i) EXPECT_EQ(told[i].wait().end, End::finished);
  EXPECT_TRUE(large.ends.empty());
  EXPECT_EQ(service_->queue_tokens(), 0);
}

TEST_F(ServiceTest, Ld03WhatIsLateInTheQueueIsNeverComputed) {
  std::atomic<int64_t> seconds{0};
  const Clock::time_point begin = Clock::now();
  const auto now = [&] { return begin + std::chrono::seconds(seconds.load()); };
  start(1, {.now = now});
  Told first, late, later;
  occupy(first);
  submit(late, {"the cat", "sat on"}, "a", begin + 10s);
  submit(later, {"the mat"}, "a", begin + 100s);
  seconds = 50;
  gate_.hold(false);
  EXPECT_EQ(late.wait().end, End::expired);
  EXPECT_EQ(later.wait().end, End::finished);
  EXPECT_EQ(first.wait().end, End::finished);
  EXPECT_TRUE(late.lines.empty());
  EXPECT_EQ(gate_.encoded, 2);
}

TEST_F(ServiceTest, DeadlinesHoldWhileWorkersAreBusy) {
  start(1);
  Told first, late;
  occupy(first);
  submit(late, {"the cat"}, "a", Clock::now() - 1s);
  service_->expire();
  EXPECT_EQ(late.wait().end, End::expired);
  EXPECT_EQ(service_->queue_tokens(), 0);
  gate_.hold(false);
  first.wait();
}

TEST_F(ServiceTest, Ld04CancelFreesItsRowsWithinAStep) {
  size_.end_bonus = -100;  // nothing ends by itself before its limit
  start(1);
  Told live, waiting;
  occupy(live);
  const auto id = submit(waiting, {"the cat"}).id;
  EXPECT_TRUE(service_->cancel(id));
  EXPECT_FALSE(service_->cancel(id));
  EXPECT_EQ(waiting.wait().end, End::cancelled);
  EXPECT_TRUE(service_->cancel(1));
  EXPECT_EQ(live.wait().end, End::cancelled);
  gate_.hold(false);
  Told next;  // its own limit is 17 steps, so the other has not run to its end
  submit(next, {"the cat"});
  EXPECT_EQ(next.wait().end, End::finished);
  EXPECT_EQ(service_->live_rows(), 0);
  Options options;
  const int64_t limit = options.target_limit(3);
  EXPECT_LE(gate_.steps, limit + 2);
  EXPECT_FALSE(service_->cancel(12345));  // HT-33: an unknown one
}

TEST_F(ServiceTest, ClientsTakeTurns) {
  start(1, {.ready_pieces = 8});
  std::vector<int> order;
  std::mutex order_mutex;
  Told first, large, small;
  for (Told* told : {&large, &small}) {
    told->order = &order;
    told->order_mutex = &order_mutex;
  }
  small.number = 1;
  occupy(first);
  submit(large, std::vector<std::string>(600, "the cat sat on the mat"), "large");
  submit(small, std::vector<std::string>(20, "the cat sat on the mat"), "small");
  gate_.hold(false);
  EXPECT_EQ(small.wait().end, End::finished);
  EXPECT_EQ(large.wait().end, End::finished);
  const auto last = std::find(order.rbegin(), order.rend(), 1);
  EXPECT_LT(order.rend() - last, 100);  // of 620
}

TEST_F(ServiceTest, RequestsOfOneClientTakeTurns) {
  start(1, {.ready_pieces = 8});
  std::vector<int> order;
  std::mutex order_mutex;
  Told first, large, small;
  for (Told* told : {&large, &small}) {
    told->order = &order;
    told->order_mutex = &order_mutex;
  }
  small.number = 1;
  occupy(first);
  submit(large, std::vector<std::string>(600, "the cat sat on the mat"));
  submit(small, {"the cat sat on the mat"});  // a shorter line is last of its window
  gate_.hold(false);
  small.wait();
  large.wait();
  EXPECT_LT(std::find(order.begin(), order.end(), 1) - order.begin(), 100);
}

TEST_F(ServiceTest, HalfOfTheQueueBesideOthers) {
  const std::string line = "the cat";
  const int64_t cost = FairQueue::estimate(line);
  start(1, {.queue_tokens = 20 * cost});
  std::vector<std::unique_ptr<Told>> told;
  const auto ask = [&](const std::string& client) {
    told.push_back(std::make_unique<Told>());
    return submit(*told.back(), {line}, client).verdict;
  };
  told.push_back(std::make_unique<Told>());
  occupy(*told[0]);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ask("a"), Verdict::accepted);
  EXPECT_EQ(ask("a"), Verdict::full);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ask("b"), Verdict::accepted) << i;
  EXPECT_EQ(ask("b"), Verdict::client_full);
  EXPECT_EQ(ask("a"), Verdict::client_full);
  EXPECT_EQ(ask("c"), Verdict::full);  // both halves are taken
  EXPECT_EQ(service_->queue_tokens(), 30 * cost);
  gate_.hold(false);
  service_.reset();
}

TEST_F(ServiceTest, ClosingFinishesWhatWasAccepted) {
  start(2);
  std::vector<Told> told(30);
  for (Told& each : told) submit(each, {"the cat", "sat on the mat"});
  service_->close();
  Told refused;
  EXPECT_EQ(submit(refused, {"the cat"}).verdict, Verdict::closed);
  for (Told& each : told) EXPECT_EQ(each.wait().end, End::finished);
}

TEST_F(ServiceTest, TheEndCancelsWhatIsOpen) {
  start(1);
  Told live, waiting;
  occupy(live);
  submit(waiting, {"the cat"});
  std::thread opener([this] {
    std::this_thread::sleep_for(20ms);
    gate_.hold(false);
  });
  service_.reset();
  opener.join();
  EXPECT_EQ(live.wait().end, End::cancelled);
  EXPECT_EQ(waiting.wait().end, End::cancelled);
}

TEST_F(ServiceTest, Ld09AnErrorEndsItsBatchAlone) {
  start(1);
  Told first, second;
  gate_.failures = 1;
  submit(first, {"the cat"});
  const Outcome outcome = first.wait();
  EXPECT_EQ(outcome.end, End::failed);
  EXPECT_FALSE(outcome.error.empty());
  submit(second, {"the cat"});
  EXPECT_EQ(second.wait().end, End::finished);
  EXPECT_EQ(second.lines[0], alone("the cat"));
  EXPECT_EQ(service_->queue_tokens(), 0);
}

TEST_F(ServiceTest, Ld13NothingIsCrossedLostOrDoubled) {
  constexpr int kThreads = 4, kEach = 2500, kLines = 97;
  start(2, {.queue_tokens = 4000});
  std::vector<std::string> expected;
  for (int i = 0; i < kLines; ++i) expected.push_back(alone(line_of(i)));
  std::atomic<int> finished{0}, cancelled{0}, refused{0};
  const auto client = [&](int number) {
    Random random(static_cast<uint64_t>(number) + 1);
    std::vector<std::unique_ptr<Told>> told;
    std::vector<std::pair<Told*, std::vector<int>>> open;
    for (int i = 0; i < kEach; ++i) {
      std::vector<int> numbers;
      std::vector<std::string> lines;
      for (int64_t n = random.between(1, 3); n > 0; --n) {
        numbers.push_back(static_cast<int>(random.below(kLines)));
        lines.push_back(line_of(numbers.back()));
      }
      told.push_back(std::make_unique<Told>());
      const auto [verdict, id] =
          submit(*told.back(), std::move(lines), std::to_string(random.below(3)));
      if (verdict != Verdict::accepted) {
        ++refused;
        std::this_thread::sleep_for(200us);
        continue;
      }
      open.emplace_back(told.back().get(), numbers);
      if (random.below(3) == 0) service_->cancel(id);
    }
    for (auto& [each, numbers] : open) {
      const Outcome outcome = each->wait();
      const std::lock_guard lock(each->mutex);
      ++(outcome.end == End::finished ? finished : cancelled);
      if (outcome.end == End::finished) {
        EXPECT_EQ(each->lines.size(), numbers.size());
      }
      for (const auto& [line, translation] : each->lines) {
        EXPECT_EQ(translation, expected[static_cast<size_t>(numbers[line])]);
      }
    }
    service_->cancel(uint64_t{1} << 40);
    // Lines of cancelled ones may still be told: kept until the service has ended.
    const std::lock_guard lock(gate_.mutex);
    for (auto& each : told) kept_.push_back(std::move(each));
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(client, i);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(finished + cancelled + refused, kThreads * kEach);
  EXPECT_GT(finished, 100);
  EXPECT_GT(cancelled, 100);
  EXPECT_EQ(service_->queue_tokens(), 0);
  EXPECT_EQ(service_->open_submissions(), 0u);
  service_.reset();
}

}  // namespace
}  // namespace heddle::decode
