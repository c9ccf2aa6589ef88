// How threads hand lines to one another: a queue of bounded size, and a place where results that
// are ready in any order come out in the order of their input.
//
//   reader:   window.open(line.size()) → ticket; queue.push({ticket, line})      waits while full
//   workers:  while (auto item = queue.pop()) window.put(item->ticket, work(item->line))
//   writer:   while (auto result = window.take()) write(*result)
//   reader:   queue.close(); window.close()          at the end of the input
//   anyone:   queue.fail(error); window.fail(error)  the others get the exception thrown
//
// Memory is bounded by the window: what is open (read, not yet written) costs no more than its
// capacity, and put() never waits, so that a worker may finish its items in any order. A worker
// that still holds items must not wait in pop(): the reader may be waiting for them. It uses
// try_pop().
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::text {

/// First in, first out, between any number of threads on either side.
template <typename Item>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity == 0 ? 1 : capacity) {}

  /// Waits while the queue is full. False: the queue is closed and the item was not taken.
  bool push(Item item) {
    std::unique_lock lock(mutex_);
    not_full_.wait(lock, [&] { return items_.size() < capacity_ || closed_ || error_; });
    if (error_) std::rethrow_exception(error_);
    if (closed_) return false;
    items_.push_back(std::move(item));
    lock.unlock();
    not_empty_.notify_one();
    return true;
  }

  /// Waits while the queue is empty. Nothing: it is closed and everything was taken.
  std::optional<Item> pop() {
    std::unique_lock lock(mutex_);
    not_empty_.wait(lock, [&] { return !items_.empty() || closed_ || error_; });
    return take(lock);
  }

  /// The next item if there is one now; `closed()` tells the rest.
  std::optional<Item> try_pop() {
    std::unique_lock lock(mutex_);
    return take(lock);
  }

  /// No more items will come; those inside can still be taken.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    not_empty_.notify_all();
    not_full_.notify_all();
  }

  /// Throws the error in every thread that uses the queue from now on. The first error counts.
  void fail(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    not_empty_.notify_all();
    not_full_.notify_all();
  }

  /// Closed and empty: pop() will not give anything any more.
  bool finished() const {
    const std::lock_guard lock(mutex_);
    return closed_ && items_.empty();
  }

 private:
  std::optional<Item> take(std::unique_lock<std::mutex>& lock) {
    if (error_) std::rethrow_exception(error_);
    if (items_.empty()) return std::nullopt;
    std::optional<Item> item(std::move(items_.front()));
    items_.pop_front();
    lock.unlock();
    not_full_.notify_one();
    return item;
  }

  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable not_full_, not_empty_;
  std::deque<Item> items_;
  bool closed_ = false;
  std::exception_ptr error_;
};

/// Tickets go out in order; results come back in any order and are taken in the order of the
/// tickets.
template <typename Result>
class OrderedWindow {
 public:
  /// `capacity`: what may be open at a time, in the unit of the costs. One item larger than that is
  /// let in when nothing else is open.
  explicit OrderedWindow(size_t capacity) : capacity_(capacity) {}

  /// Takes the next ticket; waits while the window is full.
  uint64_t open(size_t cost = 1) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return fits(cost) || error_; });
    if (error_) std::rethrow_exception(error_);
    HEDDLE_CHECK(!closed_, "ordered window: found open() after close()");
    slots_.push_back({cost, std::nullopt});
    used_ += cost;
    return first_ + slots_.size() - 1;
  }

  /// Gives the result of an open ticket, once. Never waits.
  void put(uint64_t ticket, Result result) {
    const std::lock_guard lock(mutex_);
    HEDDLE_CHECK(
        ticket >= first_ && ticket - first_ < slots_.size() && !slots_[ticket - first_].result,
        "ordered window: found a result for ticket ", ticket, ", which is not open or has one");
    slots_[ticket - first_].result.emplace(std::move(result));
    if (ticket == first_) ready_.notify_one();
  }

  /// The result of the oldest open ticket, waiting for it. Nothing: closed, and all were taken.
  std::optional<Result> take() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] {
      return error_ || (slots_.empty() ? closed_ : slots_.front().result.has_value());
    });
    if (error_) std::rethrow_exception(error_);
    if (slots_.empty()) return std::nullopt;
    std::optional<Result> result(std::move(slots_.front().result));
    used_ -= slots_.front().cost;
    slots_.pop_front();
    ++first_;
    lock.unlock();
    room_.notify_one();
    return result;
  }

  /// No more tickets will be taken.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    ready_.notify_all();
  }

  void fail(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    ready_.notify_all();
    room_.notify_all();
  }

  /// Tickets that are open.
  size_t open_tickets() const {
    const std::lock_guard lock(mutex_);
    return slots_.size();
  }

 private:
  struct Slot {
    size_t cost;
    std::optional<Result> result;
  };

  bool fits(size_t cost) const {
    return slots_.empty() || (cost <= capacity_ && used_ <= capacity_ - cost);
  }

  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable room_, ready_;
  std::deque<Slot> slots_;
  uint64_t first_ = 0;  // the ticket of slots_.front()
  size_t used_ = 0;
  bool closed_ = false;
  std::exception_ptr error_;
};

}  // namespace heddle::text
