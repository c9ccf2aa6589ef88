#include "heddle/decode/worker.h"

#include <algorithm>

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
size_t Worker::room(const Job& job) const {
  const int rows = rows_of(*job.options);
  const int waiting = static_cast<int>(scheduler_->waiting()) * rows;
  const int free = engine_->rows() - scheduler_->live_rows() - waiting;
  const bool enough = scheduler_->live_rows() == 0 || free >= settings_.admission.refill_rows;
  return enough && free > 0 ? static_cast<size_t>(free / rows) : 0;
}

void Worker::prepare(Job& job, LinePool::Work& work) {
  std::vector<Item> items;
  for (LinePointer& line : work.lines) {
    if (job.text_by_workers) {
      const Share share(statistics_.profile.text);
      text_.prepare(*line, statistics_);
    }
    if (line->pieces.empty()) complete(job, line);
    for (size_t piece = 0; piece < line->pieces.size(); ++piece) {
      items.push_back({line, piece, 0, std::ssize(line->pieces[piece].tokens)});
    }
  }
  job.pool.put(std::move(items));
}

void Worker::submit(Job& job, LinePool::Work& work) {
  for (Item& item : work.items) {
    const Piece& piece = item.line->pieces[item.piece];
    const uint64_t id = next_id_++;
    Request request{.id = id,
                    .source = piece.tokens,
                    .prefix = {},
                    .options = job.options,
                    .random_key = item.line->number + (uint64_t{item.piece} << 40),
                    .deadline = {}};
    // The prefix of a line belongs to its first piece.
    if (item.piece == 0) request.prefix = item.line->prefix_tokens;
    live_.emplace(id, std::move(item));
    scheduler_->submit(std::move(request));
  }
}

void Worker::complete(Job& job, const LinePointer& line) {
  Translation translation;
  if (job.text_by_workers) {
    const Share share(statistics_.profile.text);
    translation = text_.finish(*line, *job.options, statistics_);
  }
  job.done(line, std::move(translation));
}

void Worker::step(Job& job) {
  scheduler_->step(results_);
  for (Result& result : results_) {
    const auto place = live_.find(result.id);
    const Item item = std::move(place->second);
    live_.erase(place);
    item.line->pieces[item.piece].hypotheses = std::move(result.hypotheses);
    if (item.line->open_pieces.fetch_sub(1) == 1) complete(job, item.line);
  }
  results_.clear();
}

void Worker::run(Job& job) {
  statistics_ = {};
  live_.clear();
  scheduler_ = std::make_unique<Scheduler>(*engine_, settings_);
  const Timer timer;
  const Profile before = engine_profile();
  int steps = 0;
  for (;;) {
    LinePool::Work work;
    const bool busy = !scheduler_->idle();
    if (busy) {
      work = job.pool.next(room(job), true);
    } else {
      const Share share(statistics_.profile.idle);
      work = job.pool.next(room(job), false);
    }
    if (work.task == LinePool::Task::finished && !busy) break;
    if (work.task == LinePool::Task::prepare) {
      prepare(job, work);
      continue;
    }
    if (work.task == LinePool::Task::decode) submit(job, work);
    step(job);
    if (++steps % kStepsBetweenReports == 0) {
      const std::lock_guard lock(job.mutex);
      job.statistics += statistics_;
      statistics_ = {};
    }
  }
  Profile spent = engine_profile();
  statistics_.profile.encoder += spent.encoder - before.encoder;
  statistics_.profile.decoder += spent.decoder - before.decoder;
  statistics_.profile.projection += spent.projection - before.projection;
  const std::lock_guard lock(job.mutex);
  job.statistics += statistics_;
  job.worker_seconds += timer.seconds();
  scheduler_.reset();
}

}  // namespace heddle::decode
