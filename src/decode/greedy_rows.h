// Requests that ask for the best token of each step and for nothing else, as most do: their rows
// lie in arrays, so that the host touches a few bytes of a row in a step. A Walk gives the same.
#pragma once

#include <cstdint>
#include <vector>

#include "heddle/decode/engine.h"
#include "heddle/decode/request.h"

namespace heddle::decode {

class GreedyRows {
 public:
  /// Whether a request without candidates of its own is of this kind.
  static bool takes(const Request& request);

  /// `slot` is admitted for the request; it is given back when the request ends.
  void add(Request request, int slot, Clock::time_point submitted, Clock::time_point admitted,
           const Engine& engine);

  bool empty() const { return slots_.empty(); }
  size_t size() const { return slots_.size(); }

  /// One step of all rows; appends what has finished.
  void step(Engine& engine, Clock::time_point now, std::vector<Result>& results);

  /// Ends a request before its time and appends its result. False: there is none of this name.
  bool drop(uint64_t id, Status status, Engine& engine, Clock::time_point now,
            std::vector<Result>& results);
  void drop_all(Engine& engine);

  /// Appends the names of those whose deadline is over.
  void late(Clock::time_point now, std::vector<uint64_t>& ids) const;

 private:
  /// What is looked at when a request begins and ends. They stay where they are.
  struct Entry {
    Request request;
    Clock::time_point submitted, admitted;
  };

  Result end(size_t row, Status status, Engine& engine, Clock::time_point now);
  void erase(size_t row);

  // Row by row of the next step, in the order they came.
  std::vector<int> slots_;
  std::vector<int32_t> previous_;
  std::vector<int32_t> left_;  // tokens it may still write, the end included
  std::vector<int32_t> entry_;

  std::vector<Entry> entries_;
  std::vector<std::vector<int32_t>> written_;  // by entry
  std::vector<int32_t> free_;                  // entries
  std::vector<int32_t> best_;                  // of the step at hand
};

}  // namespace heddle::decode
