// One translation on its way back: workers bring lines in any order, the thread of the connections
// takes what can be sent. A connection without anything to send sleeps until it is woken.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "heddle/decode/service_types.h"
#include "heddle/serve/document.h"
#include "heddle/serve/request.h"

namespace heddle::serve {

class Delivery {
 public:
  Delivery(TranslateRequest request, std::string model);

  const TranslateRequest& request() const { return request_; }
  const std::string& model() const { return model_; }
  std::vector<std::string> take_lines() { return document_.take_lines(); }

  // From workers.
  void line(size_t line, decode::Translation&& translation);
  void end(const decode::Outcome& outcome);

  // From the thread of the connections.

  /// Lets `sleep` put the connection to sleep, which `wake` will end, unless there is something to
  /// send: then false.
  bool sleep_until_ended(const std::function<void()>& sleep, std::function<void()> wake);

  /// The same, for events. Copies up to `size` bytes of events to `bytes`; 0: asleep, −1: all sent.
  int64_t take_events(char* bytes, size_t size, const std::function<void()>& sleep,
                      std::function<void()> wake);

  /// Nobody is to be woken any more: the connection is gone.
  void detach();

  /// How it ended; nothing before.
  std::optional<decode::Outcome> outcome() const;

  /// Only after the end.
  const Document& document() const { return document_; }

  /// Since when events wait to be taken.
  std::optional<std::chrono::steady_clock::time_point> waiting_since() const;

  /// Where the service knows it; 0: nowhere yet.
  uint64_t submission = 0;

 private:
  void add_events();
  void add_event(std::string_view name, io::Value data);
  void rouse();

  TranslateRequest request_;
  const std::string model_;

  mutable std::mutex mutex_;  // of all that follows
  Document document_;
  std::optional<decode::Outcome> outcome_;
  std::function<void()> wake_;  // set while asleep
  std::string events_;
  size_t next_place_ = 0;  // the first that is not among the events yet
  std::optional<std::chrono::steady_clock::time_point> waiting_since_;
  std::chrono::steady_clock::time_point next_progress_{};
};

}  // namespace heddle::serve
