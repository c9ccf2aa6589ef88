// The connections that are open, and how long each has been at what it does. libmicrohttpd counts
// idle seconds alone, which a byte now and then resets; here every stage has a deadline as a whole.
// A thread looks through them, closes what is late, and tells when a client has left whose request
// is being translated.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "heddle/serve/settings.h"

namespace heddle::serve {

class Delivery;

enum class Stage : uint8_t {
  fresh,      ///< no request line yet
  head,       ///< the request line is there
  body,       ///< the headers are there
  answering,  ///< the request is there, no reply yet; or events are being sent
  writing,    ///< a whole reply is being sent
  idle,       ///< between requests
  closing,    ///< told to go
};

struct Connection {
  uint64_t id = 0;
  int socket = -1;
  std::string client;  ///< its address

  // Under the mutex of Connections:
  Stage stage = Stage::fresh;
  std::chrono::steady_clock::time_point since{};
  std::shared_ptr<const Delivery> events{};  ///< those that are being sent
  std::function<void()> left{};              ///< called when the client has left
  bool watched = false;
};

class Connections {
 public:
  explicit Connections(const Limits& limits);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  /// Near the limit the oldest that waits for a request is closed, of the client with the most.
  Connection* open(int socket, std::string client);

  /// Before the socket is closed.
  void close(Connection* connection);

  /// False when it was told to go: then nothing of it is to be answered any more.
  bool enter(Connection& connection, Stage stage);

  /// Calls `left`, once and from another thread, when the client leaves before the next enter().
  void watch(Connection& connection, std::function<void()> left,
             std::shared_ptr<const Delivery> events = {});

  /// Sends a last reply past libmicrohttpd, which takes none while a body is coming in, and ends
  /// this side. The other has a second to read it.
  void dismiss(Connection& connection, const std::string& reply);

  /// Lets nothing more be sent, nor taken.
  void end(Connection& connection);

  /// From now on what waits for a request is closed soon.
  void drain();

  size_t count() const;

  /// Called by the thread now and then, with the mutex free.
  std::function<void()> tick{};

  void start();
  void stop();

 private:
  void run();
  void sweep();
  void shed();
  void take_leavers(int timeout_ms);
  bool is_late(const Connection& connection) const;
  std::optional<double> seconds_of(Stage stage) const;

  const Limits limits_;
  int epoll_ = -1;
  mutable std::mutex mutex_;
  std::map<uint64_t, std::unique_ptr<Connection>> open_;  // by age
  uint64_t next_id_ = 1;
  std::chrono::steady_clock::time_point drained_since_{};
  bool draining_ = false, stopping_ = false;
  std::thread thread_;
};

/// A whole HTTP reply in bytes, after which the connection is closed.
std::string closing_reply(int status, std::string_view body);

}  // namespace heddle::serve
