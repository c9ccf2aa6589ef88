#include "heddle/decode/greedy_rows.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "heddle/decode/search.h"

namespace heddle::decode {

bool GreedyRows::takes(const Request& request) {
  const Options& options = *request.options;
  return options.beam == 1 && !options.sampling.enabled && !options.scores && !options.alignments &&
         options.repetition.penalty == 1 && options.repetition.no_repeat_ngram == 0 &&
         options.min_length == 0 && request.prefix.empty();
}

void GreedyRows::add(Request request, int slot, Clock::time_point submitted,
                     Clock::time_point admitted, const Engine& engine) {
  if (free_.empty()) {
    free_.push_back(static_cast<int32_t>(entries_.size()));
    entries_.emplace_back();
    written_.emplace_back();
  }
  const int32_t entry = free_.back();
  free_.pop_back();
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  left_.push_back(static_cast<int32_t>(std::min(target_limit(request, engine), kMost)));
  slots_.push_back(slot);
  previous_.push_back(engine.start());
  entry_.push_back(entry);
  entries_[static_cast<size_t>(entry)] = {std::move(request), submitted, admitted};
}

Result GreedyRows::end(size_t row, Status status, Engine& engine, Clock::time_point now) {
  const auto index = static_cast<size_t>(entry_[row]);
  engine.release(slots_[row]);
  Entry entry = std::move(entries_[index]);
  std::vector<int32_t> tokens = std::exchange(written_[index], {});
  free_.push_back(entry_[row]);
  Result result{.id = entry.request.id,
                .status = status,
                .source_tokens = std::ssize(entry.request.source),
                .submitted = entry.submitted,
                .admitted = entry.admitted,
                .done = now};
  if (status == Status::finished) {
    result.hypotheses.emplace_back();
    result.hypotheses.front().tokens = std::move(tokens);
  }
  return result;
}

void GreedyRows::step(Engine& engine, Clock::time_point now, std::vector<Result>& results) {
  best_.resize(size());
  engine.keep_alignments(false);
  engine.best({slots_, previous_}, best_);
  size_t kept = 0;
  for (size_t row = 0; row < best_.size(); ++row) {
    const int32_t token = best_[row];
    // A row that may choose nothing (no number is finite) ends too.
    const bool ended = token == engine.end() || token < 0;
    if (!ended) written_[static_cast<size_t>(entry_[row])].push_back(token);
    if (--left_[row] <= 0 || ended) {
      results.push_back(end(row, Status::finished, engine, now));
      results.back().hypotheses.front().ended = ended;
      continue;
    }
    slots_[kept] = slots_[row];
    previous_[kept] = token;
    left_[kept] = left_[row];
    entry_[kept++] = entry_[row];
  }
  slots_.resize(kept);
  previous_.resize(kept);
  left_.resize(kept);
  entry_.resize(kept);
}

void GreedyRows::erase(size_t row) {
  const auto at = static_cast<std::ptrdiff_t>(row);
  slots_.erase(slots_.begin() + at);
  previous_.erase(previous_.begin() + at);
  left_.erase(left_.begin() + at);
  entry_.erase(entry_.begin() + at);
}

bool GreedyRows::drop(uint64_t id, Status status, Engine& engine, Clock::time_point now,
                      std::vector<Result>& results) {
  for (size_t row = 0; row < size(); ++row) {
    if (entries_[static_cast<size_t>(entry_[row])].request.id != id) continue;
    results.push_back(end(row, status, engine, now));
    erase(row);
    return true;
  }
  return false;
}

void GreedyRows::drop_all(Engine& engine) {
  for (const int slot : slots_) engine.release(slot);
  *this = {};
}

void GreedyRows::late(Clock::time_point now, std::vector<uint64_t>& ids) const {
  for (const int32_t entry : entry_) {
    const Request& request = entries_[static_cast<size_t>(entry)].request;
    if (request.deadline && *request.deadline <= now) ids.push_back(request.id);
  }
}

}  // namespace heddle::decode
