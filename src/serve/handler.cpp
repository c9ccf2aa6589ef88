#include "heddle/serve/handler.h"

#include <arpa/inet.h>

#include <random>

#include "heddle/base/error.h"
#include "heddle/serve/access.h"
#include "heddle/serve/page_files.h"
#include "heddle/serve/request.h"

namespace heddle::serve {

namespace {

constexpr uint64_t kPatience = 8;          // a body of so many limits is read and thrown away
constexpr uint64_t kAfterwards = 1 << 16;  // bytes that are read of one that was dismissed

std::string address_of(MHD_Connection* connection) {
  const sockaddr* address =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
  char text[INET6_ADDRSTRLEN] = "?";
  if (address->sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text,
                sizeof text);
  } else if (address->sa_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text,
                sizeof text);
  }
  return text;
}

MHD_Result add_header(void* headers, MHD_ValueKind, const char* name, size_t name_size,
                      const char* value, size_t value_size) {
  static_cast<std::vector<Header>*>(headers)->push_back(
      {{name, name_size},
       value == nullptr ? std::string_view() : std::string_view(value, value_size)});
  return MHD_YES;
}

/// libmicrohttpd 0.9.75 takes heads that RFC 9112 forbids, but leaves them in its buffer, where the
/// line ends can be looked at. Later versions refuse them and may keep their buffers otherwise.
std::string_view lines_of(MHD_Connection* connection, const char* method, const char* version) {
  static const bool lenient = std::string_view(MHD_get_version()) == "0.9.75";
  if (!lenient) return {};
  const size_t size =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
  const char* const begin = version + std::string_view(version).size();
  return {begin, static_cast<size_t>(method + size - begin)};
}

}  // namespace

Connection& connection_of(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  return *static_cast<Connection*>(info->socket_context);
}

Handler::Handler(const ServerSettings& settings, Models& models, Connections& connections,
                 Metrics& metrics, const Log& log)
    : settings_(settings),
      models_(models),
      connections_(connections),
      metrics_(metrics),
      log_(log),
      id_seed_((uint64_t{std::random_device()()} << 32) + std::random_device()()) {}

void Handler::connection_changed(MHD_Connection* connection, void** context, bool opened) {
  if (opened) {
    const int socket =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    *context = connections_.open(socket, address_of(connection));
  } else {
    connections_.close(static_cast<Connection*>(*context));
  }
}

Exchange* Handler::begin(MHD_Connection* connection, const char* target) {
  connections_.enter(connection_of(connection), Stage::head);
  auto exchange = std::make_unique<Exchange>();
  if (target != nullptr) exchange->target = target;
  return exchange.release();
}

MHD_Result Handler::step(MHD_Connection* connection, const char* method, const char* version,
                         const char* data, size_t* size, Exchange& exchange) {
  if (!exchange.begun) return take_head(connection, method, version, exchange);
  if (*size > 0) {
    const std::string_view bytes(data, *size);
    *size = 0;
    return take_body(connection, bytes, exchange);
  }
  if (exchange.dismissed) return MHD_NO;
  if (exchange.delivery) return answer_translation(connection, exchange);
  if (exchange.head.refusal) return send_refusal(connection, exchange, *exchange.head.refusal);
  return answer(connection, exchange);
}

MHD_Result Handler::take_head(MHD_Connection* connection, const char* method, const char* version,
                              Exchange& exchange) {
  exchange.begun = true;
  ++open_exchanges_;
  if (!connections_.enter(connection_of(connection), Stage::body)) return MHD_NO;
  exchange.method = method;
  RawHead raw{method, exchange.target, version, {}, lines_of(connection, method, version)};
  MHD_get_connection_values_n(connection, MHD_HEADER_KIND, &add_header, &raw.headers);
  Head& head = exchange.head = parse_head(raw, settings_.limits);
  exchange.id = head.request_id;
  if (exchange.id.empty()) exchange.id = str(id_seed_ + ++ids_ * 0x9E3779B97F4A7C15);
  check_access(exchange);
  if (!head.refusal) return MHD_YES;
  if (head.refusal->closes || head.expects_continue) {
    return send_refusal(connection, exchange, *head.refusal);
  }
  if (head.content_length.value_or(0) > kPatience * settings_.limits.body) {
    return dismiss(connection, exchange, *head.refusal);
  }
  return MHD_YES;  // answered behind the body, so that the connection can go on
}

void Handler::check_access(Exchange& exchange) const {
  Head& head = exchange.head;
  if (head.refusal && head.refusal->closes) return;
  const bool open = is_public(head.route) || settings_.api_keys.empty();
  // LibreTranslate's clients may have their key in the body.
  const bool later = head.route == Route::libre_translate && head.key.empty();
  if (!host_allowed(settings_, head.host)) {
    head.refusal = {403, "host_not_allowed",
                    "found a Host that is not this server's; expected localhost. Start it with "
                    "--host-name NAME for others",
                    true};
  } else if (draining_ && (is_post(head.route) || head.route == Route::none)) {
    head.refusal = {503, "stopping", "found a server that stops; try another or later", true};
  } else if (exchange.method != "OPTIONS" && !open && !later &&
             !find_key(settings_.api_keys, head.key)) {
    head.refusal = {401, "unauthorized",
                    "found no API key that is known; expected Authorization: Bearer KEY"};
  }
}

MHD_Result Handler::take_body(MHD_Connection* connection, std::string_view bytes,
                              Exchange& exchange) {
  exchange.received += bytes.size();
  if (exchange.dismissed) {
    return exchange.received > kAfterwards + exchange.body.size() ? MHD_NO : MHD_YES;
  }
  if (exchange.received > settings_.limits.body && exchange.head.chunked) {
    return dismiss(connection, exchange,
                   {413, "body_too_large",
                    str("found a body of more than ", settings_.limits.body,
                        " bytes; expected at most that")});
  }
  if (exchange.head.refusal) return MHD_YES;
  if (body_bytes_ + bytes.size() > settings_.limits.bodies) {
    return dismiss(connection, exchange,
                   {503, "too_many_bodies", "found too much coming in at once; try again later"});
  }
  body_bytes_ += bytes.size();
  exchange.body += bytes;
  return MHD_YES;
}

MHD_Result Handler::dismiss(MHD_Connection* connection, Exchange& exchange,
                            const Refusal& refusal) {
  exchange.dismissed = true;
  exchange.status = refusal.status;
  exchange.code = refusal.code;
  const Reply reply = error_reply(refusal, is_libre(exchange.head.route));
  connections_.dismiss(connection_of(connection), closing_reply(refusal.status, reply.body));
  return MHD_YES;
}

void Handler::complete(MHD_Connection* connection, Exchange* exchange, bool whole) {
  const std::unique_ptr<Exchange> owned(exchange);
  if (exchange->delivery) {
    exchange->delivery->detach();
    if (!exchange->delivery->outcome()) {
      exchange->model->service.cancel(exchange->delivery->submission);
    }
  }
  const bool is_mhd_refusal = exchange->status == 0 && !exchange->begun;
  const int status = is_mhd_refusal ? 400 : exchange->status == 0 ? 499 : exchange->status;
  body_bytes_ -= exchange->body.size();
  if (exchange->begun) --open_exchanges_;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - exchange->begin).count();
  metrics_.request(label_of(exchange->head.route), status, seconds);
  if (!exchange->code.empty()) metrics_.refusal(exchange->code);
  Connection& link = connection_of(connection);
  log_.request({.client = link.client,
                .method = exchange->method,
                .path = std::string_view(exchange->target).substr(0, exchange->target.find('?')),
                .id = exchange->id,
                .status = status,
                .seconds = seconds,
                .bytes = exchange->received});
  if (is_mhd_refusal) {
    connections_.end(link);  // 0.9.75 may go on with what it takes for the next request
  } else if (whole) {
    connections_.enter(link, Stage::idle);
  }
}

}  // namespace heddle::serve
