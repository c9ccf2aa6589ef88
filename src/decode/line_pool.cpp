#include "heddle/decode/line_pool.h"

#include <algorithm>

namespace heddle::decode {

LinePool::LinePool(int64_t window_lines, int decoders, bool text_apart)
    : window_lines_(static_cast<size_t>(std::max<int64_t>(window_lines, 1))),
      decoders_(static_cast<size_t>(decoders)),
      decoding_(text_apart ? decoders_ : 0) {}

void LinePool::add(LinePointer line) {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  raw_.push_back(std::move(line));
  // Whoever is woken takes that many at once.
  if (raw_.size() % kPreparedAtOnce == 1) (decoding_ > 0 ? text_ : changed_).notify_one();
}

void LinePool::put(std::vector<Item> items) {
  {
    const std::lock_guard lock(mutex_);
    for (Item& item : items) {
      item.window = static_cast<int64_t>(item.line->number / window_lines_);
      prepared_.put(std::move(item));
    }
    --preparing_;
  }
  changed_.notify_all();
}

void LinePool::put_decoded(std::vector<LinePointer> lines) {
  if (lines.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    for (LinePointer& line : lines) decoded_.push_back(std::move(line));
  }
  text_.notify_all();
}

void LinePool::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
  text_.notify_all();
}

void LinePool::fail(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  changed_.notify_all();
  text_.notify_all();
}

bool LinePool::gives_text(Work& work) {
  const auto take = [&work](std::deque<LinePointer>& from, Task task) {
    const size_t count = std::min(kPreparedAtOnce, from.size());
    for (size_t i = 0; i < count; ++i) {
      work.lines.push_back(std::move(from.front()));
      from.pop_front();
    }
    work.task = task;
  };
  if (!raw_.empty() && prepared_.size() < window_lines_) {
    take(raw_, Task::prepare);
    ++preparing_;
    return true;
  }
  if (decoded_.empty()) return false;
  take(decoded_, Task::assemble);
  return true;
}

bool LinePool::gives_pieces(int free_rows, Work& work) {
  if (prepared_.empty() || prepared_.front().rows > free_rows) return false;
  // The last ones are shared out, so that no worker is left with all of them.
  const bool last = closed_ && raw_.empty() && preparing_ == 0;
  size_t share = last ? (prepared_.size() + decoders_ - 1) / decoders_ : prepared_.size();
  for (; share > 0 && !prepared_.empty() && prepared_.front().rows <= free_rows; --share) {
    free_rows -= prepared_.front().rows;
    work.items.push_back(prepared_.take());
  }
  work.task = Task::decode;
  return true;
}

bool LinePool::gives(int free_rows, Duty duty, Work& work) {
  if (duty != Duty::decoding && gives_text(work)) return true;
  if (duty != Duty::text && gives_pieces(free_rows, work)) {
    if (duty == Duty::decoding) text_.notify_all();  // there may be room for more
    return true;
  }
  const bool decoded = closed_ && raw_.empty() && prepared_.empty() && preparing_ == 0;
  if (!decoded || (duty == Duty::text && decoding_ > 0)) return false;
  work.task = Task::finished;
  return true;
}

LinePool::Work LinePool::next(int free_rows, bool busy, Duty duty) {
  Work work;
  std::unique_lock lock(mutex_);
  for (;;) {
    if (error_) std::rethrow_exception(error_);
    if (gives(free_rows, duty, work) || busy) break;
    (duty == Duty::text ? text_ : changed_).wait(lock);
  }
  // Who is not busy any more has put all its lines: when none is left, the text has all there are.
  if (duty == Duty::decoding && work.task == Task::finished && !busy && --decoding_ == 0) {
    text_.notify_all();
  }
  return work;
}

}  // namespace heddle::decode
