// One thread's share of a translation: takes lines from the pool, prepares some, decodes others,
// and hands on what is done. It keeps its engine from one call to the next.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "heddle/decode/line_pool.h"
#include "heddle/decode/model_engine.h"
#include "heddle/decode/scheduler.h"
#include "heddle/decode/text_path.h"

namespace heddle::decode {

/// What the workers of one call share.
struct Job {
  LinePool pool;
  std::shared_ptr<const Options> options;
  bool text_by_workers = true;  ///< off: lines come prepared and leave as they were decoded

  /// Takes a line that is done, from any worker; its translation is empty unless text_by_workers.
  std::function<void(LinePointer, Translation)> done{};

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

  /// Works until the pool has nothing more to give.
  void run(Job& job);

  const EngineSettings& engine_settings() const { return size_; }

 private:
  void prepare(Job& job, LinePool::Work& work);
  void submit(Job& job, LinePool::Work& work);
  void step(Job& job);
  void complete(Job& job, const LinePointer& line);
  size_t room(const Job& job) const;
  Profile engine_profile() const;

  std::unique_ptr<Engine> engine_;
  std::vector<const Profile*> profiles_;
  EngineSettings size_;
  SchedulerSettings settings_;
  TextPath text_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unordered_map<uint64_t, Item> live_;  // by request id
  uint64_t next_id_ = 0;
  std::vector<Result> results_;
  Statistics statistics_;  // of this run; handed over now and then
};

}  // namespace heddle::decode
