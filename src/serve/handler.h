// From a request to its reply: what libmicrohttpd calls, in the order in which a request goes.
#pragma once

#include <microhttpd.h>

#include <atomic>
#include <memory>
#include <string>

#include "heddle/serve/connections.h"
#include "heddle/serve/delivery.h"
#include "heddle/serve/head.h"
#include "heddle/serve/log.h"
#include "heddle/serve/metrics.h"
#include "heddle/serve/models.h"
#include "heddle/serve/replies.h"
#include "heddle/serve/settings.h"

namespace heddle::serve {

/// One request and its reply.
struct Exchange {
  std::string target, method, id;
  Head head;
  bool begun = false;      ///< the headers have been seen
  bool dismissed = false;  ///< a reply was sent past libmicrohttpd
  std::string body;
  uint64_t received = 0;  ///< bytes of the body, kept or not
  int status = 0;
  std::string code;  ///< of the refusal
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();

  // Of a translation:
  std::shared_ptr<Delivery> delivery;
  ModelPointer model;
  std::string detected;                     ///< source language that LibreTranslate's "auto" found
  std::shared_ptr<std::atomic<bool>> left;  ///< the client has left
};

class Handler {
 public:
  Handler(const ServerSettings& settings, Models& models, Connections& connections,
          Metrics& metrics, const Log& log);

  // What libmicrohttpd calls, from its thread.
  void connection_changed(MHD_Connection* connection, void** context, bool opened);
  Exchange* begin(MHD_Connection* connection, const char* target);
  MHD_Result step(MHD_Connection* connection, const char* method, const char* version,
                  const char* data, size_t* size, Exchange& exchange);
  void complete(MHD_Connection* connection, Exchange* exchange, bool whole);

  /// From now on nothing new is taken.
  void drain() { draining_ = true; }
  bool draining() const { return draining_; }

  /// Requests that have begun and are not answered.
  int open_exchanges() const { return open_exchanges_; }

 private:
  MHD_Result take_head(MHD_Connection* connection, const char* method, const char* version,
                       Exchange& exchange);
  MHD_Result take_body(MHD_Connection* connection, std::string_view bytes, Exchange& exchange);
  MHD_Result dismiss(MHD_Connection* connection, Exchange& exchange, const Refusal& refusal);
  void check_access(Exchange& exchange) const;

  MHD_Result answer(MHD_Connection* connection, Exchange& exchange);
  void translate(MHD_Connection* connection, Exchange& exchange);
  ModelPointer find_model(TranslateRequest& request, Exchange& exchange) const;
  std::string payer(MHD_Connection* connection, const Exchange& exchange) const;
  MHD_Result answer_translation(MHD_Connection* connection, Exchange& exchange);
  Reply plain_reply(const Exchange& exchange) const;

  MHD_Result send(MHD_Connection* connection, Exchange& exchange, const Reply& reply);
  MHD_Result send_events(MHD_Connection* connection, Exchange& exchange);
  MHD_Result send_refusal(MHD_Connection* connection, Exchange& exchange, const Refusal& refusal);
  void add_headers(MHD_Response* response, const Exchange& exchange, const Reply& reply) const;

  const ServerSettings& settings_;
  Models& models_;
  Connections& connections_;
  Metrics& metrics_;
  const Log& log_;
  std::atomic<bool> draining_{false};
  std::atomic<int> open_exchanges_{0};
  size_t body_bytes_ = 0;  // of all bodies that are being received
  uint64_t id_seed_;
  uint64_t ids_ = 0;
};

/// What connection_changed left with a connection.
Connection& connection_of(MHD_Connection* connection);

}  // namespace heddle::serve
