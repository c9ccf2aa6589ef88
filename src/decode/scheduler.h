// The one scheduler, of files, of the API and of the server: requests come in at any time, and each
// step
//
//   admits  those that fit (admission.h), encoding them as one packed batch,
//   steps   all live rows together, each one token further,
//   retires what is finished, whose slots are free for the next step.
//
// Nothing is padded, no row waits for another, and keys and values stay in fixed slots. One thread
// uses a scheduler at a time. What a request gives does not depend on its company.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "heddle/decode/admission.h"
#include "heddle/decode/engine.h"
#include "heddle/decode/greedy_rows.h"
#include "heddle/decode/request.h"
#include "heddle/decode/search.h"
#include "heddle/decode/shortlist.h"

namespace heddle::decode {

struct SchedulerSettings {
  AdmissionPolicy admission{};
  const Shortlist* shortlist = nullptr;                 ///< outlives the scheduler; null: none
  std::function<Clock::time_point()> now = Clock::now;  ///< a test brings its own clock
};

class Scheduler {
 public:
  /// The engine must outlive the scheduler.
  Scheduler(Engine& engine, SchedulerSettings settings);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Puts a request at the end of the line. Throws at one that could never run: no options, no
  /// source, a source or beam larger than the engine holds, a token outside the vocabulary.
  void submit(Request request);

  /// Drops a request, waiting or live; its result comes with the next step. False: not known.
  bool cancel(uint64_t id);

  /// Admits, steps and retires once; appends what is finished, cancelled or expired.
  void step(std::vector<Result>& results);

  bool idle() const { return waiting_.empty() && live() == 0 && dropped_.empty(); }
  size_t waiting() const { return waiting_.size(); }
  size_t live() const { return live_.size() + greedy_.size(); }
  int live_rows() const { return live_rows_; }

 private:
  struct Waiting {
    Request request;
    Clock::time_point submitted;
  };
  struct Live {
    std::unique_ptr<Search> search;
    Clock::time_point submitted, admitted;
    int rows;
    int64_t source_tokens;
  };

  /// The searches that ask for the same, and their rows side by side.
  struct Group {
    Need need = Need::nothing;
    std::vector<Search*> members;
    std::vector<int> slots;
    std::vector<int32_t> previous;
    std::vector<Tokens> candidates, banned;
    int choices = 0;
    bool bans = false, aligns = false;
  };

  void expire(std::vector<Result>& results);
  void admit();
  bool place(Waiting waiting, std::vector<int32_t>& tokens, std::vector<int32_t>& offsets,
             std::vector<int>& slots);
  std::vector<Group> groups() const;
  void run(Group& group, std::vector<Search*>& finished);
  void retire(const std::vector<Search*>& finished, std::vector<Result>& results);
  void forget(int rows, int64_t source_tokens);

  Engine& engine_;
  SchedulerSettings settings_;
  std::deque<Waiting> waiting_;
  std::vector<Live> live_;  // but those of greedy_
  GreedyRows greedy_;
  std::vector<Result> dropped_;
  int live_rows_ = 0;
  int64_t live_source_tokens_ = 0;
  bool has_deadlines_ = false;  // of some request so far

  // Answers of the step at hand.
  std::vector<int32_t> best_;
  std::vector<Choice> choices_;
  std::vector<float> logits_;
};

}  // namespace heddle::decode
