#include "heddle/serve/connections.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/serve/delivery.h"
#include "heddle/serve/replies.h"

namespace heddle::serve {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kTickMs = 50;
constexpr double kClosingSeconds = 1;
constexpr double kDrainSeconds = 1;  // of an idle connection, to be told that the server stops
constexpr double kFullShare = 0.9;   // of the limit, from which idle connections are closed

bool waits_for_a_request(Stage stage) { return stage == Stage::fresh || stage == Stage::idle; }

double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

}  // namespace

std::string closing_reply(int status, std::string_view body) {
  const std::string_view reason = status == 408   ? "Request Timeout"
                                  : status == 413 ? "Content Too Large"
                                                  : "Service Unavailable";
  return str("HTTP/1.1 ", status, " ", reason,
             "\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
             "Connection: close\r\nContent-Length: ",
             body.size(), "\r\n\r\n", body);
}

Connections::Connections(const Limits& limits)
    : limits_(limits), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  HEDDLE_CHECK(epoll_ >= 0, "serve: cannot watch connections; expected a free file descriptor");
}

Connections::~Connections() {
  stop();
  ::close(epoll_);
}

void Connections::start() {
  thread_ = std::thread([this] { run(); });
}

void Connections::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

Connection* Connections::open(int socket, std::string client) {
  const std::lock_guard lock(mutex_);
  auto connection = std::make_unique<Connection>();
  connection->id = next_id_++;
  connection->socket = socket;
  connection->client = std::move(client);
  connection->since = SteadyClock::now();
  Connection* const result = connection.get();
  open_.emplace(connection->id, std::move(connection));
  if (static_cast<double>(open_.size()) > kFullShare * static_cast<double>(limits_.connections)) {
    shed();
  }
  return result;
}

void Connections::close(Connection* connection) {
  const std::lock_guard lock(mutex_);
  open_.erase(connection->id);
}

bool Connections::enter(Connection& connection, Stage stage) {
  const std::lock_guard lock(mutex_);
  if (connection.stage == Stage::closing) return false;
  connection.stage = stage;
  connection.since = SteadyClock::now();
  connection.left = {};
  connection.events = {};
  return true;
}

void Connections::watch(Connection& connection, std::function<void()> left,
                        std::shared_ptr<const Delivery> events) {
  const std::lock_guard lock(mutex_);
  connection.left = std::move(left);
  connection.events = std::move(events);
  epoll_event event{};
  event.events = EPOLLRDHUP | EPOLLONESHOT;
  event.data.u64 = connection.id;
  ::epoll_ctl(epoll_, connection.watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, connection.socket,
              &event);
  connection.watched = true;
}

void Connections::dismiss(Connection& connection, const std::string& reply) {
  const std::lock_guard lock(mutex_);
  if (connection.stage == Stage::closing) return;
  // What does not fit into the socket's buffer is for nobody.
  [[maybe_unused]] const auto sent =
      ::send(connection.socket, reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(connection.socket, SHUT_WR);
  connection.stage = Stage::closing;
  connection.since = SteadyClock::now();
}

void Connections::end(Connection& connection) {
  const std::lock_guard lock(mutex_);
  ::shutdown(connection.socket, SHUT_WR);
  connection.stage = Stage::closing;
  connection.since = SteadyClock::now();
}

void Connections::drain() {
  const std::lock_guard lock(mutex_);
  if (!draining_) drained_since_ = SteadyClock::now();
  draining_ = true;
}

size_t Connections::count() const {
  const std::lock_guard lock(mutex_);
  return open_.size();
}

/// Under the mutex.
void Connections::shed() {
  std::map<std::string_view, size_t> counts;
  for (const auto& [id, connection] : open_) ++counts[connection->client];
  Connection* victim = nullptr;
  for (const auto& [id, connection] : open_) {
    if (!waits_for_a_request(connection->stage) || id + 1 == next_id_) continue;
    if (victim == nullptr || counts[connection->client] > counts[victim->client]) {
      victim = connection.get();
    }
  }
  if (victim == nullptr) return;
  ::shutdown(victim->socket, SHUT_RDWR);
  victim->stage = Stage::closing;
}

std::optional<double> Connections::seconds_of(Stage stage) const {
  switch (stage) {
    case Stage::fresh:
    case Stage::head:
      return limits_.header_seconds;
    case Stage::body:
      return limits_.body_seconds;
    case Stage::writing:
      return limits_.write_seconds;
    case Stage::idle:
      return limits_.idle_seconds;
    case Stage::closing:
      return kClosingSeconds;
    case Stage::answering:
      break;
  }
  return std::nullopt;
}

bool Connections::is_late(const Connection& connection) const {
  if (draining_ && connection.stage == Stage::idle) {
    return seconds_since(std::max(connection.since, drained_since_)) > kDrainSeconds;
  }
  const std::optional<double> most = seconds_of(connection.stage);
  return most && seconds_since(connection.since) > *most;
}

void Connections::sweep() {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, connection] : open_) {
    Connection& c = *connection;
    if (c.events) {
      const auto waiting = c.events->waiting_since();
      if (waiting && seconds_since(*waiting) > limits_.write_seconds)
        ::shutdown(c.socket, SHUT_RDWR);
      continue;
    }
    if (!is_late(c)) continue;
    if (c.stage == Stage::fresh || c.stage == Stage::head || c.stage == Stage::body) {
      const Refusal late{408, "timeout",
                         "found a request that comes too slowly; expected it faster"};
      const std::string reply = closing_reply(408, error_reply(late, false).body);
      [[maybe_unused]] const auto sent =
          ::send(c.socket, reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    ::shutdown(c.socket, SHUT_RDWR);
    c.stage = Stage::closing;
    c.since = SteadyClock::now();
  }
}

void Connections::take_leavers(int timeout_ms) {
  std::array<epoll_event, 64> events{};
  const int count =
      ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout_ms);
  std::vector<std::function<void()>> left;
  {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < count; ++i) {
      const auto place = open_.find(events[static_cast<size_t>(i)].data.u64);
      if (place == open_.end() || !place->second->left) continue;
      left.push_back(std::exchange(place->second->left, {}));
    }
  }
  for (const auto& call : left) call();
}

void Connections::run() {
  SteadyClock::time_point next_sweep{};
  for (;;) {
    take_leavers(kTickMs);
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    if (tick) tick();
    if (SteadyClock::now() < next_sweep) continue;
    next_sweep = SteadyClock::now() + std::chrono::milliseconds(4 * kTickMs);
    sweep();
  }
}

}  // namespace heddle::serve
