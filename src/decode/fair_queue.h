// What waits in a service, and whose turn it is. Clients take turns by tokens (deficit round robin:
// each gets a quantum a round and pays for what it takes), the tasks of one client take turns line
// by line, so that a short request does not wait for the end of a document. Not for several threads
// at once: the service has the lock.
//
// A line counts with an estimate from its bytes until a worker has cut it into tokens, with these
// until they are handed to a scheduler.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/decode/service_types.h"

namespace heddle::decode {

/// One submission on its way.
struct ServiceTask {
  uint64_t id = 0;
  Submission submission;
  std::atomic<bool> dropped{false};  ///< ended, by whatever; its lines are not wanted any more
  size_t next_line = 0;              ///< first that no worker has taken
  size_t open_lines = 0;
  int64_t waiting_tokens = 0;
  Clock::time_point submitted{};
  std::optional<Clock::time_point> started{};  ///< when its first piece went to a scheduler
  Usage usage{};
};
using TaskPointer = std::shared_ptr<ServiceTask>;

class FairQueue {
 public:
  explicit FairQueue(int64_t limit) : limit_(limit) {}

  /// Source tokens of a line before it is cut into tokens: a quarter of its bytes, and its end.
  static int64_t estimate(std::string_view line);

  /// Whether a client may add so many tokens now. A client has the whole limit while it is alone
  /// and half of it beside others; what it had before they came does not count against them.
  Verdict admits(const std::string& client, int64_t tokens) const;

  void add(const TaskPointer& task);
  bool has_lines() const { return !ring_.empty(); }

  /// The next line that is to be prepared; its task is charged for it already.
  struct Turn {
    TaskPointer task;
    size_t line;
  };
  Turn take();

  /// Changes what a task that was added waits for.
  void settle(ServiceTask& task, int64_t tokens);

  /// Takes out what still waits of a task.
  void remove(const TaskPointer& task);

  int64_t tokens() const { return tokens_; }

 private:
  struct Client {
    int64_t tokens = 0;             // that wait, whether taken by take() or not
    int64_t deficit = 0;            // tokens it may take before it is another's turn
    std::deque<TaskPointer> tasks;  // those with lines to take
  };
  using Entry = std::map<std::string, Client>::iterator;

  void forget_if_empty(Entry client);

  const int64_t limit_;
  int64_t tokens_ = 0;
  std::map<std::string, Client> clients_;  // those that wait for anything
  std::deque<Entry> ring_;                 // those with lines to take
};

}  // namespace heddle::decode
