#include "heddle/decode/service.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::decode {

namespace {

// Pieces within so many tokens are decoded longest first, as in a file.
constexpr int64_t kWindowTokens = 2048;

// The pieces of one long line go into later windows, as if the line were so many times as long:
// else a line of a hundred pieces would hold up all that comes behind it.
constexpr int64_t kSpread = 8;

std::vector<std::unique_ptr<Worker>> workers_of(const ModelSet& models, int most_rows) {
  Options largest;
  largest.beam = most_rows;
  std::vector<std::unique_ptr<Worker>> workers;
  for (int i = 0; i < models.threads(); ++i) {
    workers.push_back(models.new_worker(models.engine_settings(largest)));
  }
  return workers;
}

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

struct Service::ServiceLine : Line {
  TaskPointer task;
  int64_t charge = 0;  // what it counts for in the queue, until it is cut into pieces
};

Service::Service(const ModelSet& models, const ServiceSettings& settings)
    : Service(workers_of(models, settings.most_rows), settings) {}

Service::Service(std::vector<std::unique_ptr<Worker>> workers, const ServiceSettings& settings)
    : settings_(settings),
      queue_(settings.queue_tokens),
      job_{.source = *this},
      workers_(std::move(workers)) {
  job_.stepped = settings.stepped;
  job_.done = [this](const LinePointer& line, Translation translation) {
    line_done(static_cast<ServiceLine&>(*line), std::move(translation));
  };
  for (const auto& worker : workers_) {
    threads_.emplace_back([this, &worker = *worker] { work(worker); });
  }
}

Service::~Service() {
  close();
  cancel_all();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Service::Admission Service::submit(Submission submission) {
  const auto task = std::make_shared<ServiceTask>();
  task->submission = std::move(submission);
  const Submission& given = task->submission;
  int64_t tokens = 0;
  for (const std::string& line : given.lines) {
    tokens += FairQueue::estimate(line);
    task->usage.source_words += count_words(line);
  }
  task->open_lines = given.lines.size();
  task->submitted = settings_.now();
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return {Verdict::closed};
    const Verdict verdict = queue_.admits(given.client, tokens);
    if (verdict != Verdict::accepted) return {verdict};
    task->id = next_id_++;
    if (!given.lines.empty()) {
      queue_.add(task);
      open_.emplace(task->id, task);
      if (given.deadline) deadlines_.emplace(*given.deadline, task->id);
    }
  }
  if (given.lines.empty()) finish(*task, End::finished);
  changed_.notify_all();
  return {Verdict::accepted, task->id};
}

/// Under the lock. True for the one who may tell the end.
bool Service::detach(const TaskPointer& task) {
  if (open_.erase(task->id) == 0) return false;
  if (task->submission.deadline) deadlines_.erase({*task->submission.deadline, task->id});
  queue_.remove(task);
  if (task->open_lines > 0) {
    task->dropped = true;
    ++job_.dropped;
  }
  return true;
}

void Service::finish(const ServiceTask& task, End end, const std::string& error) const {
  const Clock::time_point now = settings_.now();
  task.submission.events.end(
      {.end = end,
       .usage = task.usage,
       .queue_seconds = seconds_between(task.submitted, task.started.value_or(now)),
       .total_seconds = seconds_between(task.submitted, now),
       .error = error});
}

bool Service::cancel(uint64_t id) {
  TaskPointer task;
  {
    const std::lock_guard lock(mutex_);
    const auto place = open_.find(id);
    if (place == open_.end()) return false;
    task = place->second;
    detach(task);
  }
  finish(*task, End::cancelled);
  return true;
}

std::vector<TaskPointer> Service::take_expired() {
  std::vector<TaskPointer> late;
  while (!deadlines_.empty() && deadlines_.begin()->first <= settings_.now()) {
    late.push_back(open_.at(deadlines_.begin()->second));
    detach(late.back());
  }
  return late;
}

void Service::expire() {
  std::vector<TaskPointer> late;
  {
    const std::lock_guard lock(mutex_);
    late = take_expired();
  }
  for (const TaskPointer& task : late) finish(*task, End::expired);
}

void Service::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

void Service::cancel_all() {
  std::vector<TaskPointer> left;
  {
    const std::lock_guard lock(mutex_);
    while (!open_.empty()) {
      left.push_back(open_.begin()->second);
      detach(left.back());
    }
  }
  for (const TaskPointer& task : left) finish(*task, End::cancelled);
}

int64_t Service::queue_tokens() const {
  const std::lock_guard lock(mutex_);
  return queue_.tokens();
}

size_t Service::open_submissions() const {
  const std::lock_guard lock(mutex_);
  return open_.size();
}

void Service::take_lines(Work& work) {
  while (work.lines.size() < kPreparedAtOnce && queue_.has_lines()) {
    const FairQueue::Turn turn = queue_.take();
    Submission& submission = turn.task->submission;
    auto line = std::make_shared<ServiceLine>();
    line->charge = FairQueue::estimate(submission.lines[turn.line]);
    line->ticket = line->number = turn.line;
    line->text = std::move(submission.lines[turn.line]);
    line->prefix = submission.prefix;
    line->options = submission.options;
    line->unwanted = &turn.task->dropped;
    line->task = turn.task;
    work.lines.push_back(std::move(line));
  }
}

bool Service::take_items(int free_rows, Work& work) {
  while (!ready_.empty() && ready_.front().rows <= free_rows) {
    Item item = ready_.take();
    if (!item.line->wanted()) continue;
    ServiceTask& task = *static_cast<ServiceLine&>(*item.line).task;
    if (!task.started) task.started = settings_.now();
    queue_.settle(task, -item.tokens);
    free_rows -= item.rows;
    work.items.push_back(std::move(item));
  }
  return !work.items.empty();
}

bool Service::gives(int free_rows, Work& work) {
  if (queue_.has_lines() && ready_.size() < settings_.ready_pieces * workers_.size()) {
    take_lines(work);
    work.task = Task::prepare;
    return true;
  }
  if (take_items(free_rows, work)) {
    work.task = Task::decode;
    return true;
  }
  return false;
}

WorkSource::Work Service::next(int free_rows, bool busy, Duty) {
  Work work;
  std::unique_lock lock(mutex_);
  for (;;) {
    const std::vector<TaskPointer> late = take_expired();
    if (!late.empty()) {
      lock.unlock();
      for (const TaskPointer& task : late) finish(*task, End::expired);
      lock.lock();
      continue;
    }
    if (stopping_) {
      work.task = Task::finished;
      return work;
    }
    if (gives(free_rows, work) || busy) return work;
    changed_.wait(lock);
  }
}

void Service::put_decoded(std::vector<LinePointer>) {
  HEDDLE_CHECK(false, "service: decoded lines; expected workers that put them together");
}

void Service::put(std::vector<Item> items) {
  {
    const std::lock_guard lock(mutex_);
    int64_t offset = 0;  // of the piece in its line
    for (Item& item : items) {
      auto& line = static_cast<ServiceLine&>(*item.line);
      if (!line.wanted()) continue;
      if (item.piece == 0) {
        int64_t tokens = 0;
        for (const Piece& piece : line.pieces) tokens += std::ssize(piece.tokens);
        queue_.settle(*line.task, tokens - std::exchange(line.charge, 0));
        taken_tokens_ += tokens;
        offset = 0;
      }
      item.window = (taken_tokens_ + kSpread * offset) / kWindowTokens;
      offset += item.tokens;
      ready_.put(std::move(item));
    }
  }
  changed_.notify_all();
}

void Service::line_done(ServiceLine& line, Translation&& translation) {
  const TaskPointer task = line.task;
  if (!line.wanted()) return;
  task->submission.events.line(line.number, std::move(translation));
  bool last = false;
  {
    const std::lock_guard lock(mutex_);
    if (!line.wanted()) return;
    if (line.pieces.empty()) queue_.settle(*task, -std::exchange(line.charge, 0));
    for (const Piece& piece : line.pieces) {
      const Hypothesis& best = piece.hypotheses.front();
      task->usage.source_tokens += std::ssize(piece.tokens);
      task->usage.target_tokens += std::ssize(best.tokens) + (best.ended ? 1 : 0);
    }
    last = --task->open_lines == 0 && detach(task);
    if (last && !task->started) task->started = settings_.now();  // nothing had to be decoded
  }
  if (last) finish(*task, End::finished);
}

void Service::work(Worker& worker) {
  for (;;) {
    std::string error;
    try {
      worker.run(job_);
      return;
    } catch (const std::exception& exception) {
      error = exception.what();
    }
    for (const LinePointer& line : worker.take_lines()) {
      const TaskPointer task = static_cast<ServiceLine&>(*line).task;
      bool ends = false;
      {
        const std::lock_guard lock(mutex_);
        ends = detach(task);
      }
      if (ends) finish(*task, End::failed, error);
    }
  }
}

}  // namespace heddle::decode
