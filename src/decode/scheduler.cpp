#include "heddle/decode/scheduler.h"

#include <algorithm>

#include "heddle/base/error.h"

namespace heddle::decode {

Scheduler::Scheduler(Engine& engine, SchedulerSettings settings)
    : engine_(engine), settings_(std::move(settings)) {}

Scheduler::~Scheduler() {
  for (Live& live : live_) live.search->abandon();
  greedy_.drop_all(engine_);
}

void Scheduler::submit(Request request) {
  HEDDLE_CHECK(request.options != nullptr, "scheduler: request ", request.id,
               " has no options; expected some");
  const int rows = rows_of(*request.options);
  HEDDLE_CHECK(rows <= engine_.rows(), "scheduler: request ", request.id, " asks for ", rows,
               " rows; expected at most ", engine_.rows());
  const int64_t tokens = std::ssize(request.source), positions = engine_.max_positions();
  const int64_t most =
      positions > 0 ? std::min(positions, engine_.source_tokens()) : engine_.source_tokens();
  HEDDLE_CHECK(tokens >= 1 && tokens <= most, "scheduler: request ", request.id, " has ", tokens,
               " source tokens; expected 1 … ", most, ". Cut longer text before");
  HEDDLE_CHECK(positions == 0 || std::ssize(request.prefix) < positions, "scheduler: request ",
               request.id, " has a prefix of ", std::ssize(request.prefix),
               " tokens; expected less than ", positions);
  for (const int32_t token : request.prefix) {
    HEDDLE_CHECK(token >= 0 && token < engine_.vocabulary() && token != engine_.end(),
                 "scheduler: request ", request.id, " has token ", token,
                 " in its prefix; expected tokens below ", engine_.vocabulary(),
                 " and not the end, ", engine_.end());
  }
  has_deadlines_ |= request.deadline.has_value();
  waiting_.push_back({std::move(request), settings_.now()});
}

bool Scheduler::cancel(uint64_t id) {
  const auto waiting = std::find_if(waiting_.begin(), waiting_.end(),
                                    [id](const Waiting& item) { return item.request.id == id; });
  if (waiting != waiting_.end()) {
    dropped_.push_back({.id = id,
                        .status = Status::cancelled,
                        .hypotheses = {},
                        .source_tokens = std::ssize(waiting->request.source),
                        .submitted = waiting->submitted,
                        .done = settings_.now()});
    waiting_.erase(waiting);
    return true;
  }
  if (greedy_.drop(id, Status::cancelled, engine_, settings_.now(), dropped_)) {
    forget(1, dropped_.back().source_tokens);
    return true;
  }
  const auto live = std::find_if(live_.begin(), live_.end(), [id](const Live& item) {
    return item.search->request().id == id;
  });
  if (live == live_.end()) return false;
  dropped_.push_back({.id = id,
                      .status = Status::cancelled,
                      .hypotheses = {},
                      .source_tokens = live->source_tokens,
                      .submitted = live->submitted,
                      .admitted = live->admitted,
                      .done = settings_.now()});
  live->search->abandon();
  forget(live->rows, live->source_tokens);
  live_.erase(live);
  return true;
}

void Scheduler::forget(int rows, int64_t source_tokens) {
  live_rows_ -= rows;
  live_source_tokens_ -= source_tokens;
}

void Scheduler::expire(std::vector<Result>& results) {
  const auto late = [now = settings_.now()](const Request& request) {
    return request.deadline && *request.deadline <= now;
  };
  std::vector<uint64_t> ids;
  if (has_deadlines_) {
    for (const Waiting& item : waiting_) {
      if (late(item.request)) ids.push_back(item.request.id);
    }
    for (const Live& item : live_) {
      if (late(item.search->request())) ids.push_back(item.search->request().id);
    }
    greedy_.late(settings_.now(), ids);
  }
  for (const uint64_t id : ids) {
    cancel(id);
    dropped_.back().status = Status::expired;
  }
  std::move(dropped_.begin(), dropped_.end(), std::back_inserter(results));
  dropped_.clear();
}

bool Scheduler::place(Waiting waiting, std::vector<int32_t>& tokens, std::vector<int32_t>& offsets,
                      std::vector<int>& slots) {
  const Options& options = *waiting.request.options;
  const int64_t length = std::ssize(waiting.request.source);
  const std::optional<int> first = engine_.admit(length, target_limit(waiting.request, engine_));
  std::vector<int> own;
  if (first) own.push_back(*first);
  for (int row = 1; first && row < rows_of(options); ++row) {
    const std::optional<int> slot = engine_.fork(*first);
    if (!slot) break;
    own.push_back(*slot);
  }
  if (std::ssize(own) < rows_of(options)) {
    for (const int slot : own) engine_.release(slot);
    waiting_.push_front(std::move(waiting));
    return false;
  }
  tokens.insert(tokens.end(), waiting.request.source.begin(), waiting.request.source.end());
  offsets.push_back(static_cast<int32_t>(tokens.size()));
  slots.push_back(*first);
  std::vector<int32_t> candidates;
  if (settings_.shortlist != nullptr && options.shortlist) {
    candidates = settings_.shortlist->candidates(waiting.request.source);
  }
  const int rows = static_cast<int>(own.size());
  live_rows_ += rows;
  live_source_tokens_ += length;
  if (candidates.empty() && GreedyRows::takes(waiting.request)) {
    greedy_.add(std::move(waiting.request), *first, waiting.submitted, settings_.now(), engine_);
    return true;
  }
  live_.push_back(
      {make_search(std::move(waiting.request), std::move(own), std::move(candidates), engine_),
       waiting.submitted, settings_.now(), rows, length});
  return true;
}

void Scheduler::admit() {
  std::vector<Demand> demands;
  const size_t most = std::min(waiting_.size(), static_cast<size_t>(engine_.rows()));
  for (size_t i = 0; i < most; ++i) {
    const Request& request = waiting_[i].request;
    demands.push_back({std::ssize(request.source), rows_of(*request.options)});
  }
  const Room room{live_rows_, engine_.rows() - live_rows_,
                  engine_.source_tokens() - live_source_tokens_};
  const int count = admissible(settings_.admission, room, demands);
  std::vector<int32_t> tokens, offsets{0};  // [T], [S + 1]
  std::vector<int> slots;                   // [S]
  for (int i = 0; i < count; ++i) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    // Rows and tokens were counted, but no gap may be long enough: then it is first next time.
    if (!place(std::move(next), tokens, offsets, slots)) break;
  }
  if (slots.empty()) {
    HEDDLE_CHECK(count == 0 || live_rows_ > 0, "scheduler: an empty engine cannot hold request ",
                 waiting_.front().request.id, " of ", demands[0].source_tokens,
                 " source tokens; expected room. Give the engine more target tokens");
    return;
  }
  engine_.encode(tokens, offsets, slots);
}

std::vector<Scheduler::Group> Scheduler::groups() const {
  std::vector<Group> list;
  for (const Live& live : live_) {
    Search& search = *live.search;
    const Need need = search.need();
    const bool shortlisted = !search.candidates().empty();
    auto group = std::find_if(list.begin(), list.end(), [&](const Group& other) {
      return other.need == need && other.candidates.empty() != shortlisted;
    });
    if (group == list.end()) {
      group = list.insert(list.end(), Group{});
      group->need = need;
    }
    group->members.push_back(&search);
    group->choices = std::max(group->choices, search.choices());
    group->aligns |= search.request().options->alignments;
    group->slots.insert(group->slots.end(), search.slots().begin(), search.slots().end());
    group->previous.insert(group->previous.end(), search.previous().begin(),
                           search.previous().end());
    if (shortlisted) {
      group->candidates.insert(group->candidates.end(), search.slots().size(), search.candidates());
    }
    group->bans = group->bans || std::ranges::any_of(search.banned(), [](const auto& banned) {
                    return !banned.empty();
                  });
  }
  for (Group& group : list) {
    if (!group.bans) continue;  // else each row has a list
    for (const Search* search : group.members) {
      for (const std::vector<int32_t>& banned : search->banned()) group.banned.emplace_back(banned);
    }
  }
  return list;
}

void Scheduler::run(Group& group, std::vector<Search*>& finished) {
  const Step step{group.slots, group.previous, group.candidates, group.banned};
  const size_t rows = group.slots.size(), vocabulary = static_cast<size_t>(engine_.vocabulary());
  const size_t width = static_cast<size_t>(group.choices);
  engine_.keep_alignments(group.aligns);
  switch (group.need) {
    case Need::nothing:
      engine_.advance(step);
      break;
    case Need::best:
      best_.resize(rows);
      engine_.best(step, best_);
      break;
    case Need::top:
      choices_.resize(rows * width);
      engine_.top(step, group.choices, choices_);
      break;
    case Need::logits:
      logits_.resize(rows * vocabulary);
      engine_.logits(step, logits_);
      break;
  }
  size_t first = 0;
  for (Search* search : group.members) {
    const size_t count = search->slots().size();
    Answer answer{.width = group.choices, .first_row = static_cast<int>(first)};
    if (group.need == Need::best) answer.best = std::span(best_).subspan(first, count);
    if (group.need == Need::top) {
      answer.choices = std::span(choices_).subspan(first * width, count * width);
    }
    if (group.need == Need::logits) {
      answer.logits = std::span(logits_).subspan(first * vocabulary, count * vocabulary);
    }
    if (search->advance(answer)) finished.push_back(search);
    first += count;
  }
}

void Scheduler::retire(const std::vector<Search*>& finished, std::vector<Result>& results) {
  if (finished.empty()) return;
  const Clock::time_point now = settings_.now();
  std::vector<const Search*> sorted(finished.begin(), finished.end());
  std::ranges::sort(sorted);
  // Live ones keep their order: `finished` names them in the order of the groups.
  std::erase_if(live_, [&](Live& live) {
    if (!std::ranges::binary_search(sorted, live.search.get())) return false;
    results.push_back({.id = live.search->request().id,
                       .status = Status::finished,
                       .hypotheses = live.search->finish(),
                       .source_tokens = live.source_tokens,
                       .submitted = live.submitted,
                       .admitted = live.admitted,
                       .done = now});
    forget(live.rows, live.source_tokens);
    return true;
  });
}

void Scheduler::step(std::vector<Result>& results) {
  expire(results);
  if (!waiting_.empty()) admit();
  if (!greedy_.empty()) {
    const size_t before = results.size();
    greedy_.step(engine_, settings_.now(), results);
    for (size_t i = before; i < results.size(); ++i) forget(1, results[i].source_tokens);
  }
  std::vector<Search*> finished;
  for (Group& group : groups()) run(group, finished);
  retire(finished, results);
}

}  // namespace heddle::decode
