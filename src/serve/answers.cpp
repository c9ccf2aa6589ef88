// The second half of the handler: what is done for each route, and how replies are sent.
#include <microhttpd.h>

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/serve/access.h"
#include "heddle/serve/handler.h"
#include "heddle/serve/page_files.h"

namespace heddle::serve {

namespace {

constexpr size_t kEventBytes = 16384;  // handed to libmicrohttpd at once

/// Events on their way to one connection.
struct EventStream {
  MHD_Connection* connection;
  std::shared_ptr<Delivery> delivery;
};

ssize_t read_events(void* context, uint64_t, char* bytes, size_t size) {
  const auto& stream = *static_cast<EventStream*>(context);
  MHD_Connection* const connection = stream.connection;
  const int64_t count = stream.delivery->take_events(
      bytes, size, [connection] { MHD_suspend_connection(connection); },
      [connection] { MHD_resume_connection(connection); });
  return count < 0 ? MHD_CONTENT_READER_END_OF_STREAM : static_cast<ssize_t>(count);
}

void free_events(void* context) { delete static_cast<EventStream*>(context); }

}  // namespace

MHD_Result Handler::answer(MHD_Connection* connection, Exchange& exchange) {
  try {
    if (exchange.method == "OPTIONS") {
      Reply reply{.status = 204, .body = {}};
      const std::string methods = is_post(exchange.head.route) ? "POST" : "GET, HEAD";
      reply.headers.emplace_back("Allow", methods + ", OPTIONS");
      if (!allowed_origin(settings_, exchange.head.origin).empty()) {
        reply.headers.emplace_back("Access-Control-Allow-Methods", methods);
        reply.headers.emplace_back("Access-Control-Allow-Headers",
                                   "Content-Type, Authorization, X-Request-Id");
        reply.headers.emplace_back("Access-Control-Max-Age", "600");
      }
      return send(connection, exchange, reply);
    }
    if (!is_post(exchange.head.route)) return send(connection, exchange, plain_reply(exchange));
    translate(connection, exchange);
    return exchange.delivery->request().stream ? send_events(connection, exchange)
                                               : answer_translation(connection, exchange);
  } catch (const Refused& refused) {
    return send_refusal(connection, exchange, refused.refusal());
  }
}

Reply Handler::plain_reply(const Exchange& exchange) const {
  std::vector<ModelSummary> summaries;
  Gauges gauges;
  for (const ModelPointer& model : models_.all()) {
    summaries.push_back(model->summary);
    gauges.models.push_back(
        {model->summary.name, model->service.queue_tokens(), model->service.live_rows()});
  }
  switch (exchange.head.route) {
    case Route::models:
      return models_reply(summaries);
    case Route::libre_languages:
      return languages_reply(summaries);
    case Route::ready:
      return draining_ ? text_reply(503, "stopping") : text_reply(200, "ok");
    case Route::metrics:
      gauges.connections = static_cast<int64_t>(connections_.count());
      gauges.requests = open_exchanges_;
      return {.type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics_.text(gauges)};
    case Route::openapi:
    case Route::page: {
      const PageFile& file = *find_page_file(exchange.head.path);
      return {.type = file.type, .body = std::string(file.content), .page = true};
    }
    default:
      return text_reply(200, "ok");
  }
}

std::string Handler::payer(MHD_Connection* connection, const Exchange& exchange) const {
  const std::string& key = exchange.head.key;
  const std::optional<size_t> known = find_key(settings_.api_keys, key);
  return known ? str("key ", *known) : connection_of(connection).client;
}

ModelPointer Handler::find_model(TranslateRequest& request, Exchange& exchange) const {
  if (exchange.head.route == Route::translate) {
    if (ModelPointer model = models_.find(request.model)) return model;
    refuse(404, "unknown_model",
           !request.model ? "found no model in the request; expected one of /v1/models"
                          : "found an unknown model; expected one of /v1/models");
  }
  const bool any = request.source == "auto";
  ModelPointer model = models_.find(any ? std::string() : request.source, request.target);
  if (!model) {
    refuse(400, "unknown_language",
           "found languages without a model for them; expected a pair of /languages");
  }
  if (any) exchange.detected = model->summary.source;
  return model;
}

void Handler::translate(MHD_Connection* connection, Exchange& exchange) {
  const Head& head = exchange.head;
  const bool libre = head.route == Route::libre_translate;
  TranslateRequest request = libre ? parse_libre(exchange.body, head.form, settings_.limits)
                                   : parse_translate(exchange.body, settings_.limits);
  body_bytes_ -= exchange.body.size();
  exchange.body = {};
  if (libre && !settings_.api_keys.empty() && head.key.empty()) {
    if (!find_key(settings_.api_keys, request.api_key)) {
      refuse(401, "unauthorized", "found no API key that is known; expected api_key");
    }
    exchange.head.key = request.api_key;
  }
  request.stream |= head.wants_events && !libre;
  exchange.model = find_model(request, exchange);

  const int64_t milliseconds = request.deadline_ms.value_or(settings_.limits.deadline_ms);
  decode::Submission submission;
  submission.options = std::make_shared<const decode::Options>(request.options);
  submission.prefix = request.prefix;
  submission.client = payer(connection, exchange);
  submission.deadline = decode::Clock::now() + std::chrono::milliseconds(milliseconds);
  const std::string& name = exchange.model->summary.name;
  auto delivery = std::make_shared<Delivery>(std::move(request), name);
  submission.lines = delivery->take_lines();
  submission.events.line = [delivery](size_t line, decode::Translation&& translation) {
    delivery->line(line, std::move(translation));
  };
  submission.events.end = [this, delivery](const decode::Outcome& outcome) {
    metrics_.translated(delivery->model(), outcome.usage);
    if (!outcome.error.empty()) log_.message(str("translation failed: ", outcome.error));
    delivery->end(outcome);
  };
  const auto [verdict, id] = exchange.model->service.submit(std::move(submission));
  if (verdict != decode::Verdict::accepted) throw Refused(refusal_of(verdict));
  delivery->submission = id;
  exchange.delivery = delivery;
  exchange.left = std::make_shared<std::atomic<bool>>(false);
  Connection& link = connection_of(connection);
  connections_.enter(link, Stage::answering);
  connections_.watch(
      link,
      [left = exchange.left, model = exchange.model, submitted = id] {
        *left = true;
        model->service.cancel(submitted);
      },
      delivery->request().stream ? delivery : nullptr);
}

MHD_Result Handler::answer_translation(MHD_Connection* connection, Exchange& exchange) {
  const bool asleep =
      exchange.delivery->sleep_until_ended([connection] { MHD_suspend_connection(connection); },
                                           [connection] { MHD_resume_connection(connection); });
  if (asleep) return MHD_YES;
  if (*exchange.left) return MHD_NO;
  const decode::Outcome outcome = *exchange.delivery->outcome();
  if (outcome.end != decode::End::finished) {
    return send_refusal(connection, exchange, refusal_of(outcome));
  }
  return send(connection, exchange,
              is_libre(exchange.head.route) ? libre_reply(*exchange.delivery, exchange.detected)
                                            : translation_reply(*exchange.delivery, outcome));
}

void Handler::add_headers(MHD_Response* response, const Exchange& exchange,
                          const Reply& reply) const {
  const auto add = [response](const char* name, const std::string& value) {
    MHD_add_response_header(response, name, value.c_str());
  };
  if (reply.status != 204) add("Content-Type", std::string(reply.type));
  add("X-Content-Type-Options", "nosniff");
  add("Referrer-Policy", "no-referrer");
  add("Content-Security-Policy",
      reply.page ? "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
                 : "default-src 'none'; frame-ancestors 'none'");
  add("Cache-Control", reply.page ? "no-cache" : "no-store");
  add("X-Request-Id", exchange.id);
  const std::string origin = allowed_origin(settings_, exchange.head.origin);
  if (!origin.empty()) add("Access-Control-Allow-Origin", origin);
  if (!settings_.cors.empty()) add("Vary", "Origin");
  for (const auto& [name, value] : reply.headers) add(name.c_str(), value);
  if (draining_) add("Connection", "close");
}

MHD_Result Handler::send(MHD_Connection* connection, Exchange& exchange, const Reply& reply) {
  exchange.status = reply.status;
  MHD_Response* const response = MHD_create_response_from_buffer(
      reply.body.size(), const_cast<char*>(reply.body.data()), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  add_headers(response, exchange, reply);
  connections_.enter(connection_of(connection), Stage::writing);
  const MHD_Result queued =
      MHD_queue_response(connection, static_cast<unsigned>(reply.status), response);
  MHD_destroy_response(response);
  return queued;
}

MHD_Result Handler::send_events(MHD_Connection* connection, Exchange& exchange) {
  auto stream = std::make_unique<EventStream>(EventStream{connection, exchange.delivery});
  MHD_Response* const response = MHD_create_response_from_callback(
      MHD_SIZE_UNKNOWN, kEventBytes, &read_events, stream.get(), &free_events);
  if (response == nullptr) return MHD_NO;
  stream.release();  // the response has it
  exchange.status = 200;
  Reply reply{.type = "text/event-stream", .body = {}};
  reply.headers.emplace_back("X-Accel-Buffering", "no");
  add_headers(response, exchange, reply);
  const MHD_Result queued = MHD_queue_response(connection, MHD_HTTP_OK, response);
  MHD_destroy_response(response);
  return queued;
}

MHD_Result Handler::send_refusal(MHD_Connection* connection, Exchange& exchange,
                                 const Refusal& refusal) {
  exchange.code = refusal.code;
  Reply reply = error_reply(refusal, is_libre(exchange.head.route));
  if (refusal.status == 405) {
    reply.headers.emplace_back(
        "Allow", is_post(exchange.head.route) ? "POST, OPTIONS" : "GET, HEAD, OPTIONS");
  }
  return send(connection, exchange, reply);
}

}  // namespace heddle::serve
