#include "heddle/serve/delivery.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "heddle/io/json.h"
#include "heddle/serve/replies.h"

namespace heddle::serve {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr auto kBetweenProgress = std::chrono::milliseconds(100);

}  // namespace

Delivery::Delivery(TranslateRequest request, std::string model)
    : request_(std::move(request)), model_(std::move(model)), document_(request_.texts) {
  request_.texts = {};
  if (request_.stream) add_events();
}

void Delivery::line(size_t line, decode::Translation&& translation) {
  const std::lock_guard lock(mutex_);
  if (outcome_) return;
  document_.put(line, std::move(translation));
  if (!request_.stream) return;
  add_events();
  if (!events_.empty()) rouse();
}

void Delivery::end(const decode::Outcome& outcome) {
  const std::lock_guard lock(mutex_);
  if (outcome_) return;
  outcome_ = outcome;
  if (request_.stream) {
    if (outcome.end == decode::End::finished) {
      next_progress_ = {};  // the last one is not left out
      add_events();
      add_event("done", done_value(outcome));
    } else {
      add_event("error", error_value(refusal_of(outcome)));
    }
  }
  rouse();
}

void Delivery::add_event(std::string_view name, io::Value data) {
  if (events_.empty()) waiting_since_ = SteadyClock::now();
  events_ += "event: ";
  events_ += name;
  events_ += "\ndata: " + io::to_json(data) + "\n\n";
}

void Delivery::add_events() {
  for (; next_place_ < document_.lines(); ++next_place_) {
    const Document::Place place = document_.place(next_place_);
    if (place.translation == nullptr) break;
    io::Value::Map data;
    data.push_back({"index", static_cast<int64_t>(place.text)});
    data.push_back({"line", static_cast<int64_t>(place.line)});
    data.push_back({"text", place.translation->text});
    add_event("translation", std::move(data));
  }
  const auto now = SteadyClock::now();
  if (now < next_progress_) return;
  next_progress_ = now + kBetweenProgress;
  io::Value::Map data;
  data.push_back({"done", static_cast<int64_t>(document_.lines_done())});
  data.push_back({"total", static_cast<int64_t>(document_.lines())});
  add_event("progress", std::move(data));
}

void Delivery::rouse() {
  if (wake_) std::exchange(wake_, {})();
}

bool Delivery::sleep_until_ended(const std::function<void()>& sleep, std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  if (outcome_) return false;
  wake_ = std::move(wake);
  sleep();
  return true;
}

int64_t Delivery::take_events(char* bytes, size_t size, const std::function<void()>& sleep,
                              std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  if (events_.empty()) {
    if (outcome_) return -1;
    wake_ = std::move(wake);
    sleep();
    return 0;
  }
  const size_t count = std::min(size, events_.size());
  std::memcpy(bytes, events_.data(), count);
  events_.erase(0, count);
  waiting_since_.reset();
  if (!events_.empty()) waiting_since_ = SteadyClock::now();
  return static_cast<int64_t>(count);
}

void Delivery::detach() {
  const std::lock_guard lock(mutex_);
  wake_ = {};
}

std::optional<decode::Outcome> Delivery::outcome() const {
  const std::lock_guard lock(mutex_);
  return outcome_;
}

std::optional<SteadyClock::time_point> Delivery::waiting_since() const {
  const std::lock_guard lock(mutex_);
  return waiting_since_;
}

}  // namespace heddle::serve
