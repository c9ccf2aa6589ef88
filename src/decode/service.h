// Translation for many who ask at once: submissions come from any thread at any time, the lines of
// all of them are decoded in one batch (scheduler.h), and what is done is told through callbacks.
//
//   Service service(models, {.queue_tokens = 65536});
//   const auto [verdict, id] = service.submit({.lines = …, .options = …, .client = "10.0.0.7",
//                                             .events = {on_line, on_end}});
//   service.cancel(id);                    // its rows are free with the next step
//
// The queue is bounded by source tokens and fair between clients (fair_queue.h). A submission whose
// deadline passes while it waits is never computed. A line gives the translation that a Translator
// with the same settings gives.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "heddle/decode/fair_queue.h"
#include "heddle/decode/item_queue.h"
#include "heddle/decode/model_set.h"
#include "heddle/decode/worker.h"

namespace heddle::decode {

struct ServiceSettings {
  int64_t queue_tokens = 65536;             ///< source tokens that may wait
  int most_rows = 8;                        ///< largest beam of a submission
  size_t ready_pieces = 96;                 ///< a worker, kept ready ahead of the decoding
  std::function<void(int rows)> stepped{};  ///< after each step of a worker, from its thread
  std::function<Clock::time_point()> now = Clock::now;  ///< a test brings its own clock
};

class Service : private WorkSource {
 public:
  /// One thread for each worker.
  Service(std::vector<std::unique_ptr<Worker>> workers, const ServiceSettings& settings);

  /// As many workers as the settings of the models ask for; the models must outlive the service.
  Service(const ModelSet& models, const ServiceSettings& settings);

  /// Cancels what is open and waits for the workers; not from a callback.
  ~Service() override;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  struct Admission {
    Verdict verdict = Verdict::accepted;
    uint64_t id = 0;  ///< of an accepted one
  };
  Admission submit(Submission submission);

  /// Ends a submission, waiting or live. False: it has ended already.
  bool cancel(uint64_t id);

  /// Ends what is beyond its deadline; workers do so too, before each step.
  void expire();

  /// Takes nothing any more; what was accepted goes on.
  void close();

  /// Ends everything that is open.
  void cancel_all();

  int64_t queue_tokens() const;
  int live_rows() const { return job_.live_rows; }
  size_t open_submissions() const;

 private:
  struct ServiceLine;

  Work next(int free_rows, bool busy, Duty duty) override;
  void put_decoded(std::vector<LinePointer> lines) override;
  void put(std::vector<Item> items) override;
  bool gives(int free_rows, Work& work);
  void take_lines(Work& work);
  bool take_items(int free_rows, Work& work);

  void work(Worker& worker);
  void line_done(ServiceLine& line, Translation&& translation);
  bool detach(const TaskPointer& task);
  void finish(const ServiceTask& task, End end, const std::string& error = {}) const;
  std::vector<TaskPointer> take_expired();

  const ServiceSettings settings_;
  mutable std::mutex mutex_;  // of all that follows, to the job
  std::condition_variable changed_;
  FairQueue queue_;
  ItemQueue ready_;
  int64_t taken_tokens_ = 0;  // since the start: the clock of the heap's order
  std::map<uint64_t, TaskPointer> open_;
  std::set<std::pair<Clock::time_point, uint64_t>> deadlines_;
  uint64_t next_id_ = 1;
  bool closed_ = false, stopping_ = false;

  Job job_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
};

}  // namespace heddle::decode
