#include "heddle/serve/server.h"

#include <microhttpd.h>

#include "heddle/base/error.h"
#include "heddle/serve/handler.h"
#include "heddle/serve/listener.h"

namespace heddle::serve {

namespace {

constexpr size_t kPoolBytes =
    64 << 10;  // of one connection: its headers, all together, and buffers

Handler& handler_of(void* context) { return *static_cast<Handler*>(context); }

void* on_target(void* context, const char* target, MHD_Connection* connection) {
  return handler_of(context).begin(connection, target);
}

MHD_Result on_request(void* context, MHD_Connection* connection, const char*, const char* method,
                      const char* version, const char* data, size_t* size, void** exchange) {
  return handler_of(context).step(connection, method, version, data, size,
                                  *static_cast<Exchange*>(*exchange));
}

void on_completed(void* context, MHD_Connection* connection, void** exchange,
                  MHD_RequestTerminationCode code) {
  if (*exchange == nullptr) return;
  handler_of(context).complete(connection, static_cast<Exchange*>(*exchange),
                               code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
  *exchange = nullptr;
}

void on_connection(void* context, MHD_Connection* connection, void** socket_context,
                   MHD_ConnectionNotificationCode code) {
  handler_of(context).connection_changed(connection, socket_context,
                                         code == MHD_CONNECTION_NOTIFY_STARTED);
}

MHD_Daemon* start(Handler& handler, const Listener& listener, const Limits& limits) {
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC;
  if (listener.ipv6) flags |= MHD_USE_IPv6;
  MHD_Daemon* const daemon = MHD_start_daemon(
      flags, 0, nullptr, nullptr, &on_request, &handler,
      // clang-format off
      MHD_OPTION_LISTEN_SOCKET, listener.socket,
      MHD_OPTION_CONNECTION_LIMIT, static_cast<unsigned>(limits.connections),
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, kPoolBytes,
      MHD_OPTION_CONNECTION_TIMEOUT, 0u,  // see connections.h
      MHD_OPTION_URI_LOG_CALLBACK, &on_target, &handler,
      MHD_OPTION_NOTIFY_COMPLETED, &on_completed, &handler,
      MHD_OPTION_NOTIFY_CONNECTION, &on_connection, &handler,
      MHD_OPTION_END);
  // clang-format on
  HEDDLE_CHECK(daemon != nullptr,
               "serve: the HTTP server does not start; expected free file "
               "descriptors and threads");
  return daemon;
}

}  // namespace

struct Server::State {
  const ServerSettings settings;
  const Log log;
  Metrics metrics;
  Models models;
  Connections connections;
  Handler handler;
  std::string url;
  MHD_Daemon* daemon = nullptr;

  explicit State(const ServerSettings& given);
  ~State();
};

Server::State::State(const ServerSettings& given)
    : settings(given),
      log(settings.log, settings.json_log),
      models(settings, metrics, log),
      connections(settings.limits),
      handler(settings, models, connections, metrics, log) {
  const Listener listener = listen_on(settings.host, settings.port);
  const bool bare = settings.host.find(':') != settings.host.npos;
  url = str("http://", bare ? "[" : "", settings.host, bare ? "]" : "", ":", int{listener.port});
  connections.tick = [this] {
    for (const ModelPointer& model : models.all()) model->service.expire();
  };
  connections.start();
  daemon = start(handler, listener, settings.limits);
}

Server::State::~State() {
  handler.drain();
  models.close();
  // Every connection that sleeps is woken by this; libmicrohttpd does not stop beside one.
  for (const ModelPointer& model : models.all()) model->service.cancel_all();
  connections.stop();
  MHD_stop_daemon(daemon);
}

Server::Server(const ServerSettings& settings) : state_(std::make_unique<State>(settings)) {}
Server::~Server() = default;

const std::string& Server::url() const { return state_->url; }
void Server::reload() { state_->models.reload(); }

void Server::drain() {
  state_->handler.drain();
  state_->connections.drain();
}

bool Server::drained() const { return state_->handler.open_exchanges() == 0; }

}  // namespace heddle::serve
