// A service on engines that compute nothing and can be held, and how its submissions went.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "heddle/decode/service.h"
#include "tests/decode/fake_engine.h"
#include "tests/text/model_builder.h"

namespace heddle::decode::test {

/// Stops engines before they encode, and counts what they did.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool held = false;
  int waiting = 0;
  int64_t encoded = 0;  ///< sentences
  int64_t steps = 0;
  int failures = 0;  ///< encodings that are to fail

  void hold(bool whether) {
    {
      const std::lock_guard lock(mutex);
      held = whether;
    }
    changed.notify_all();
  }

  void pass() {
    std::unique_lock lock(mutex);
    ++waiting;
    changed.notify_all();
    changed.wait(lock, [this] { return !held; });
    --waiting;
  }

  void wait_for(int engines) {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(
        changed.wait_for(lock, std::chrono::seconds(20), [&] { return waiting == engines; }));
  }
};

class HeldEngine : public FakeEngine {
 public:
  HeldEngine(const FakeSize& size, Gate& gate) : FakeEngine(size), gate_(gate) {}

  void encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
              std::span<const int> slots) override {
    gate_.pass();
    {
      const std::lock_guard lock(gate_.mutex);
      if (gate_.failures > 0) {
        --gate_.failures;
        throw std::bad_alloc();
      }
      gate_.encoded += std::ssize(slots);
    }
    FakeEngine::encode(tokens, offsets, slots);
  }

  void best(const Step& step, std::span<int32_t> tokens) override {
    {
      const std::lock_guard lock(gate_.mutex);
      ++gate_.steps;
    }
    FakeEngine::best(step, tokens);
  }

 private:
  Gate& gate_;
};

/// How a submission went, told by its callbacks.
struct Told {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<size_t, std::string> lines;
  std::vector<Outcome> ends;
  std::vector<int>* order = nullptr;  ///< takes `number` for each line
  std::mutex* order_mutex = nullptr;
  int number = 0;

  ServiceEvents events() {
    return {[this](size_t line, Translation&& translation) {
              if (order != nullptr) {
                const std::lock_guard lock(*order_mutex);
                order->push_back(number);
              }
              const std::lock_guard lock(mutex);
              EXPECT_TRUE(lines.emplace(line, std::move(translation.text)).second);
            },
            [this](const Outcome& outcome) {
              {
                const std::lock_guard lock(mutex);
                ends.push_back(outcome);
              }
              changed.notify_all();
            }};
  }

  Outcome wait() {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(30), [this] { return !ends.empty(); }));
    EXPECT_EQ(ends.size(), 1u);
    return ends.empty() ? Outcome{} : ends[0];
  }
};

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() : tokenizer_(text::make_tokenizer(text::small_model().bytes(), "small")) {
    text_ = {.source = &tokenizer_, .target = &tokenizer_, .segments = {.longest = 30}, .end = 0};
    size_ = {.rows = 8,
             .source_tokens = 256,
             .vocabulary = static_cast<int64_t>(tokenizer_.size()),
             .end_bonus = 3};
  }

  void start(int workers, ServiceSettings settings = {}) {
    std::vector<std::unique_ptr<Worker>> made;
    for (int i = 0; i < workers; ++i) {
      made.push_back(std::make_unique<Worker>(std::make_unique<HeldEngine>(size_, gate_),
                                              std::vector<const Profile*>{}, EngineSettings{},
                                              scheduler_, text_));
    }
    service_ = std::make_unique<Service>(std::move(made), settings);
  }

  Service::Admission submit(Told& told, std::vector<std::string> lines,
                            const std::string& client = "a",
                            std::optional<Clock::time_point> deadline = {}) {
    return service_->submit({.lines = std::move(lines),
                             .options = options_,
                             .client = client,
                             .deadline = deadline,
                             .events = told.events()});
  }

  /// What a line becomes alone.
  std::string alone(const std::string& text) {
    Statistics statistics;
    TextPath path(text_);
    Line line;
    line.text = text;
    path.prepare(line, statistics);
    for (Piece& piece : line.pieces) {
      FakeEngine engine(size_);
      Scheduler scheduler(engine, scheduler_);
      scheduler.submit({.source = piece.tokens, .options = options_});
      std::vector<Result> results;
      while (!scheduler.idle()) scheduler.step(results);
      piece.hypotheses = results.at(0).hypotheses;
    }
    return path.finish(line, *options_, statistics).text;
  }

  /// Occupies the only worker until the gate opens.
  void occupy(Told& told) {
    gate_.hold(true);
    ASSERT_EQ(submit(told, {"the cat"}, "first").verdict, Verdict::accepted);
    gate_.wait_for(1);
  }

  static std::string line_of(int number) {
    const std::vector<std::string> words{"the", "cat", "sat", "on", "mat", "Hello", "world!"};
    std::string line;
    for (int n = number + 1; n > 0; n /= 7) line += words[static_cast<size_t>(n % 7)] + " ";
    return line + "zebra";
  }

  text::Tokenizer tokenizer_;
  TextSettings text_;
  FakeSize size_;
  SchedulerSettings scheduler_{.admission = {.encode_tokens = 64, .refill_rows = 2}};
  std::shared_ptr<const Options> options_ = std::make_shared<const Options>();
  Gate gate_;
  std::vector<std::unique_ptr<Told>> kept_;
  std::unique_ptr<Service> service_;
};

}  // namespace heddle::decode::test
