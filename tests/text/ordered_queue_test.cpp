// The queue and the window between threads.
#include "heddle/text/ordered_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace heddle::text {
namespace {

using namespace std::chrono_literals;

TEST(BoundedQueue, KeepsTheOrderAndEnds) {
  BoundedQueue<std::unique_ptr<int>> queue(3);
  std::thread producer([&] {
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(queue.push(std::make_unique<int>(i)));
    queue.close();
  });
  int expected = 0;
  while (auto item = queue.pop()) EXPECT_EQ(**item, expected++);
  EXPECT_EQ(expected, 1000);
  EXPECT_TRUE(queue.finished());
  EXPECT_FALSE(queue.push(std::make_unique<int>(1)));
  producer.join();
}

TEST(BoundedQueue, HoldsNoMoreThanItsCapacity) {
  BoundedQueue<int> queue(2);
  std::atomic<int> pushed{0};
  std::thread producer([&] {
    for (int i = 0; i < 5; ++i) {
      queue.push(i);
      ++pushed;
    }
  });
  std::this_thread::sleep_for(30ms);
  EXPECT_LE(pushed.load(), 2);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(queue.pop(), i);
  producer.join();
  EXPECT_EQ(queue.try_pop(), std::nullopt);
}

TEST(BoundedQueue, ThrowsTheErrorOnBothSides) {
  BoundedQueue<int> queue(1);
  queue.push(1);
  std::thread producer([&] { EXPECT_THROW(queue.push(2), Error); });
  std::this_thread::sleep_for(5ms);
  queue.fail(std::make_exception_ptr(Error("first")));
  queue.fail(std::make_exception_ptr(std::runtime_error("second")));
  producer.join();
  EXPECT_THROW(queue.pop(), Error);
}

TEST(OrderedWindow, GivesResultsInTheOrderOfTheTickets) {
  constexpr int kItems = 5000;
  BoundedQueue<std::pair<uint64_t, int>> queue(16);
  OrderedWindow<int> window(64);
  std::thread reader([&] {
    for (int i = 0; i < kItems; ++i) queue.push({window.open(), i});
    queue.close();
    window.close();
  });
  std::vector<std::thread> workers;
  for (int t = 0; t < 3; ++t) {
    workers.emplace_back([&, t] {
      // Each keeps some items back, as a decoder does whose sentences end at different times.
      std::vector<std::pair<uint64_t, int>> held;
      for (;;) {
        auto item = held.empty() ? queue.pop() : queue.try_pop();
        if (item) held.push_back(*item);
        if (held.empty()) break;
        if (!item || held.size() > static_cast<size_t>(t) * 3) {
          window.put(held.back().first, held.back().second);
          held.pop_back();
        }
      }
    });
  }
  for (int i = 0; i < kItems; ++i) ASSERT_EQ(window.take(), i);
  EXPECT_EQ(window.take(), std::nullopt);
  reader.join();
  for (std::thread& worker : workers) worker.join();
}

TEST(OrderedWindow, IsBoundedByCost) {
  OrderedWindow<int> window(10);
  const uint64_t first = window.open(1000);  // alone it may be larger than the window
  std::atomic<bool> second_is_in{false};
  std::thread reader([&] {
    const uint64_t second = window.open(10);
    second_is_in = true;
    window.put(second, 2);
    window.close();
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(second_is_in);
  window.put(first, 1);
  EXPECT_EQ(window.take(), 1);
  EXPECT_EQ(window.take(), 2);
  EXPECT_EQ(window.take(), std::nullopt);
  reader.join();
}

TEST(OrderedWindow, RefusesWrongTickets) {
  OrderedWindow<int> window(4);
  const uint64_t ticket = window.open();
  EXPECT_THROW(window.put(ticket + 1, 1), Error);
  window.put(ticket, 1);
  EXPECT_THROW(window.put(ticket, 1), Error);
  EXPECT_EQ(window.take(), 1);
  EXPECT_THROW(window.put(ticket, 1), Error);
  window.close();
  EXPECT_THROW(window.open(), Error);
}

TEST(OrderedWindow, ThrowsTheErrorOnBothSides) {
  OrderedWindow<int> window(1);
  window.open();
  std::thread reader([&] { EXPECT_THROW(window.open(), Error); });
  std::thread writer([&] { EXPECT_THROW(window.take(), Error); });
  std::this_thread::sleep_for(5ms);
  window.fail(std::make_exception_ptr(Error("stop")));
  reader.join();
  writer.join();
}

}  // namespace
}  // namespace heddle::text
