// One thread's share of a translation: takes lines from their source, prepares some, decodes
// others, and hands on what is done. It keeps its engine from one call to the next.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "heddle/decode/model_engine.h"
#include "heddle/decode/scheduler.h"
#include "heddle/decode/text_path.h"
#include "heddle/decode/work_source.h"

namespace heddle::decode {

/// What the workers of one call share.
struct Job {
  WorkSource& source;
  bool text_by_workers = true;  ///< off: lines come prepared and leave as they were decoded
  bool text_apart = false;      ///< workers decode alone; the text has threads of its own

  /// Takes a line that is done, from any worker; its translation is empty unless text_by_workers.
  std::function<void(LinePointer, Translation)> done{};

  std::atomic<uint64_t> dropped{0};         ///< counts the times that live lines became unwanted
  std::atomic<int> live_rows{0};            ///< of all workers together
  std::function<void(int rows)> stepped{};  ///< after each step, when set; from any worker

  std::mutex mutex{};
  Statistics statistics{};    ///< under the mutex
  double worker_seconds = 0;  ///< of all workers together; under the mutex
};

class Worker {
 public:
  /// `engine` owns its models' state and was made with `size`; `profiles` are those of the models
  /// inside it.
  Worker(std::unique_ptr<Engine> engine, std::vector<const Profile*> profiles,
         const EngineSettings& size, const SchedulerSettings& settings, const TextSettings& text);

  /// Works until the source has nothing more to give.
  void run(Job& job);

  /// After run() has thrown: the lines it had, each at least once.
  std::vector<LinePointer> take_lines();

  const EngineSettings& engine_settings() const { return size_; }

 private:
  void prepare(Job& job);
  void submit();
  void drop(Job& job);
  void step(Job& job);
  void work(Job& job);
  void complete(Job& job, const LinePointer& line);
  int room() const;
  Profile engine_profile() const;

  std::unique_ptr<Engine> engine_;
  std::vector<const Profile*> profiles_;
  EngineSettings size_;
  SchedulerSettings settings_;
  TextPath text_;
  std::unique_ptr<Scheduler> scheduler_;
  WorkSource::Work work_;                    // at hand
  std::unordered_map<uint64_t, Item> live_;  // in the scheduler, by request id
  int held_rows_ = 0;                        // of these
  std::vector<LinePointer> decoded_;         // by this step, for those who do the text
  uint64_t seen_dropped_ = 0;
  int counted_rows_ = 0;  // of ours, in the job's live rows
  uint64_t next_id_ = 0;
  std::vector<Result> results_;
  Statistics statistics_;  // of this run; handed over now and then
};

}  // namespace heddle::decode
