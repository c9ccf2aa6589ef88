#include "heddle/decode/line_pool.h"

#include <algorithm>

namespace heddle::decode {

LinePool::LinePool(int64_t window_lines, int workers)
    : window_lines_(static_cast<size_t>(std::max<int64_t>(window_lines, 1))),
      workers_(static_cast<size_t>(workers)) {}

void LinePool::add(LinePointer line) {
  {
    const std::lock_guard lock(mutex_);
    if (error_) std::rethrow_exception(error_);
    raw_.push_back(std::move(line));
    ++added_;
  }
  changed_.notify_one();
}

void LinePool::put(std::vector<Item> items) {
  {
    const std::lock_guard lock(mutex_);
    for (Item& item : items) {
      item.window = static_cast<int64_t>(item.line->number / window_lines_);
      prepared_.push_back(std::move(item));
      std::push_heap(prepared_.begin(), prepared_.end(), comes_later);
    }
    --preparing_;
  }
  changed_.notify_all();
}

void LinePool::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void LinePool::fail(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  changed_.notify_all();
}

bool LinePool::gives(int free_rows, Work& work) {
  if (!raw_.empty() && prepared_.size() < window_lines_) {
    const size_t count = std::min(kPreparedAtOnce, raw_.size());
    for (size_t i = 0; i < count; ++i) {
      work.lines.push_back(std::move(raw_.front()));
      raw_.pop_front();
    }
    ++preparing_;
    work.task = Task::prepare;
    return true;
  }
  if (!prepared_.empty() && prepared_.front().rows <= free_rows) {
    // The last ones are shared out, so that no worker is left with all of them.
    const bool last = closed_ && raw_.empty() && preparing_ == 0;
    size_t share = last ? (prepared_.size() + workers_ - 1) / workers_ : prepared_.size();
    for (; share > 0 && prepared_.front().rows <= free_rows; --share) {
      free_rows -= prepared_.front().rows;
      std::pop_heap(prepared_.begin(), prepared_.end(), comes_later);
      work.items.push_back(std::move(prepared_.back()));
      prepared_.pop_back();
    }
    work.task = Task::decode;
    return true;
  }
  if (closed_ && raw_.empty() && prepared_.empty() && preparing_ == 0) {
    work.task = Task::finished;
    return true;
  }
  return false;
}

LinePool::Work LinePool::next(int free_rows, bool busy) {
  Work work;
  std::unique_lock lock(mutex_);
  for (;;) {
    if (error_) std::rethrow_exception(error_);
    if (gives(free_rows, work) || busy) return work;
    changed_.wait(lock);
  }
}

}  // namespace heddle::decode
