#include "heddle/decode/worker.h"

#include <algorithm>
#include <utility>

namespace heddle::decode {

namespace {

constexpr int kStepsBetweenReports = 64;

}  // namespace

Worker::Worker(std::unique_ptr<Engine> engine, std::vector<const Profile*> profiles,
               const EngineSettings& size, const SchedulerSettings& settings,
               const TextSettings& text)
    : engine_(std::move(engine)),
      profiles_(std::move(profiles)),
      size_(size),
      settings_(settings),
      text_(text) {}

Profile Worker::engine_profile() const {
  Profile sum;
  for (const Profile* profile : profiles_) sum += *profile;
  return sum;
}

// Pieces are fetched when they can be admitted and not before: others may be free earlier.
int Worker::room() const {
  const int free = engine_->rows() - held_rows_;
  const bool enough = scheduler_->live_rows() == 0 || free >= settings_.admission.refill_rows;
  return enough ? std::max(free, 0) : 0;
}

void Worker::prepare(Job& job) {
  std::vector<Item> items;
  for (const LinePointer& line : work_.lines) {
    if (job.text_by_workers && line->wanted()) {
      const Share share(statistics_.profile.text);
      text_.prepare(*line, statistics_);
    }
    if (line->pieces.empty()) complete(job, line);
    for (size_t piece = 0; piece < line->pieces.size(); ++piece) {
      items.push_back(
          {line, piece, 0, std::ssize(line->pieces[piece].tokens), rows_of(*line->options)});
    }
  }
  work_.lines.clear();
  job.source.put(std::move(items));
}

void Worker::submit() {
  for (Item& item : work_.items) {
    const Line& line = *item.line;
    const uint64_t id = next_id_++;
    Request request{.id = id,
                    .source = line.pieces[item.piece].tokens,
                    .prefix = {},
                    .options = line.options,
                    .random_key = line.number + (uint64_t{item.piece} << 40),
                    .deadline = {}};
    // The prefix of a line belongs to its first piece.
    if (item.piece == 0) request.prefix = line.prefix_tokens;
    held_rows_ += item.rows;
    live_.emplace(id, std::move(item));
    scheduler_->submit(std::move(request));
  }
}

void Worker::drop(Job& job) {
  const uint64_t dropped = job.dropped;
  if (dropped == seen_dropped_) return;
  seen_dropped_ = dropped;
  for (const auto& [id, item] : live_) {
    if (!item.line->wanted()) scheduler_->cancel(id);
  }
}

std::vector<LinePointer> Worker::take_lines() {
  std::vector<LinePointer> lines = std::move(work_.lines);
  for (Item& item : work_.items) {
    if (item.line) lines.push_back(std::move(item.line));
  }
  for (auto& [id, item] : live_) lines.push_back(std::move(item.line));
  work_ = {};
  live_.clear();
  return lines;
}

void Worker::complete(Job& job, const LinePointer& line) {
  if (job.text_apart) {
    decoded_.push_back(line);
    return;
  }
  Translation translation;
  if (job.text_by_workers) {
    const Share share(statistics_.profile.text);
    translation = text_.finish(*line, *line->options, statistics_);
  }
  job.done(line, std::move(translation));
}

void Worker::step(Job& job) {
  scheduler_->step(results_);
  const int rows = scheduler_->live_rows();
  job.live_rows += rows - counted_rows_;
  counted_rows_ = rows;
  if (job.stepped) job.stepped(rows + static_cast<int>(results_.size()));
  for (Result& result : results_) {
    const auto place = live_.find(result.id);
    Item& item = place->second;
    item.line->pieces[item.piece].hypotheses = std::move(result.hypotheses);
    if (result.status == Status::finished && item.line->open_pieces.fetch_sub(1) == 1) {
      complete(job, item.line);
    }
    held_rows_ -= item.rows;
    live_.erase(place);
  }
  results_.clear();
  if (!decoded_.empty()) job.source.put_decoded(std::exchange(decoded_, {}));
}

void Worker::run(Job& job) {
  statistics_ = {};
  results_.clear();
  live_.clear();
  decoded_.clear();
  held_rows_ = 0;
  seen_dropped_ = job.dropped;
  job.live_rows -= std::exchange(counted_rows_, 0);  // of a run that has thrown
  scheduler_ = std::make_unique<Scheduler>(*engine_, settings_);
  const Timer timer;
  const Profile before = engine_profile();
  const auto account = [&] {
    const Profile spent = engine_profile();
    statistics_.profile.encoder += spent.encoder - before.encoder;
    statistics_.profile.decoder += spent.decoder - before.decoder;
    statistics_.profile.projection += spent.projection - before.projection;
    const std::lock_guard lock(job.mutex);
    job.statistics += statistics_;
    job.worker_seconds += timer.seconds();
  };
  try {
    work(job);
  } catch (...) {
    account();
    throw;
  }
  account();
  scheduler_.reset();
}

void Worker::work(Job& job) {
  using Duty = WorkSource::Duty;
  const Duty duty = job.text_apart ? Duty::decoding : Duty::all;
  int steps = 0;
  for (;;) {
    const bool busy = !scheduler_->idle();
    if (busy) {
      work_ = job.source.next(room(), true, duty);
    } else {
      const Share share(statistics_.profile.idle);
      work_ = job.source.next(room(), false, duty);
    }
    if (work_.task == WorkSource::Task::finished && !busy) break;
    if (work_.task == WorkSource::Task::prepare) {
      prepare(job);
      continue;
    }
    if (work_.task == WorkSource::Task::decode) submit();
    drop(job);
    step(job);
    if (++steps % kStepsBetweenReports == 0) {
      const std::lock_guard lock(job.mutex);
      job.statistics += std::exchange(statistics_, {});
    }
  }
}

}  // namespace heddle::decode
