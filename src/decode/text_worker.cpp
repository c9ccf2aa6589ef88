#include "heddle/decode/text_worker.h"

#include <utility>

namespace heddle::decode {

void TextWorker::prepare(Job& job, const std::vector<LinePointer>& lines) {
  std::vector<Item> items;
  for (const LinePointer& line : lines) {
    if (job.text_by_workers && line->wanted()) {
      const Share share(statistics_.profile.text);
      text_.prepare(*line, statistics_);
    }
    if (line->pieces.empty()) assemble(job, line);
    for (size_t piece = 0; piece < line->pieces.size(); ++piece) {
      items.push_back(
          {line, piece, 0, std::ssize(line->pieces[piece].tokens), rows_of(*line->options)});
    }
  }
  job.source.put(std::move(items));
}

void TextWorker::assemble(Job& job, const LinePointer& line) {
  Translation translation;
  if (job.text_by_workers) {
    const Share share(statistics_.profile.text);
    translation = text_.finish(*line, *line->options, statistics_);
  }
  job.done(line, std::move(translation));
}

void TextWorker::run(Job& job) {
  statistics_ = {};
  const Timer timer;
  for (;;) {
    WorkSource::Work work;
    {
      const Share share(statistics_.profile.idle);
      work = job.source.next(0, false, WorkSource::Duty::text);
    }
    if (work.task == WorkSource::Task::finished) break;
    if (work.task == WorkSource::Task::prepare) {
      prepare(job, work.lines);
    } else {
      for (const LinePointer& line : work.lines) assemble(job, line);
    }
    const std::lock_guard lock(job.mutex);
    job.statistics += std::exchange(statistics_, {});
  }
  const std::lock_guard lock(job.mutex);
  job.statistics += statistics_;
  job.worker_seconds += timer.seconds();
}

}  // namespace heddle::decode
