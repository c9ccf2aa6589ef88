// A fixed pool of threads that shares out the indices of a loop, one at a time, in order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace heddle {

class ThreadPool {
 public:
  /// `threads` counts the calling thread too; 0 takes one a processor.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  /// Calls body(index, thread) for every index in [0, count); returns when all are done. Indices
  /// are handed out in rising order, so put the longest work first. `thread` is in [0, threads()).
  /// The first exception of a body is thrown again here; the rest of the loop is then skipped.
  /// One loop at a time: a second caller waits, and a body may not start a loop of its own.
  void parallel_for(int64_t count, const std::function<void(int64_t index, int thread)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heddle
