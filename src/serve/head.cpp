#include "heddle/serve/head.h"

#include <algorithm>
#include <array>

#include "heddle/base/error.h"
#include "heddle/serve/syntax.h"

namespace heddle::serve {

namespace {

constexpr size_t kLongestRequestId = 64;

/// One that leaves the place of the next request unclear.
[[noreturn]] void refuse_framing(std::string code, std::string message, int status = 400) {
  throw Refused({status, std::move(code), std::move(message), true});
}

void check_method(std::string_view method, const Head& head) {
  const Route route = head.route;
  constexpr std::array<std::string_view, 9> kKnown{"GET",    "HEAD",  "POST",  "OPTIONS", "PUT",
                                                   "DELETE", "PATCH", "TRACE", "CONNECT"};
  if (std::find(kKnown.begin(), kKnown.end(), method) == kKnown.end()) {
    refuse(501, "unknown_method", "found an unknown method; expected GET, HEAD, POST or OPTIONS");
  }
  if (route == Route::none && head.path != "*") {
    refuse(404, "not_found", "found no such path; /openapi.json lists what there is");
  }
  const bool fits = is_post(route) ? method == "POST" : method == "GET" || method == "HEAD";
  if (!fits && method != "OPTIONS") {
    refuse(405, "method_not_allowed",
           str("found another method; expected ", is_post(route) ? "POST" : "GET or HEAD"));
  }
}

/// The values of all headers of one name.
std::vector<std::string_view> values_of(const RawHead& raw, std::string_view name) {
  std::vector<std::string_view> values;
  for (const Header& header : raw.headers) {
    if (equal_names(header.name, name)) values.push_back(trimmed(header.value));
  }
  return values;
}

/// The value of a header that may stand once.
std::string_view value_of(const RawHead& raw, std::string_view name) {
  const std::vector<std::string_view> values = values_of(raw, name);
  if (values.size() > 1) {
    refuse_framing("bad_header", str("found the header ", name, " twice; expected it once"));
  }
  return values.empty() ? std::string_view() : values[0];
}

void check_headers(const RawHead& raw, const Limits& limits) {
  const auto fail = [](std::string message) {
    refuse_framing("headers_too_large", std::move(message), 431);
  };
  if (raw.headers.size() > limits.headers) {
    fail(str("found ", raw.headers.size(), " headers; expected at most ", limits.headers));
  }
  for (const Header& header : raw.headers) {
    if (header.name.size() + header.value.size() > limits.header) {
      fail(str("found a header of more than ", limits.header, " bytes; expected at most that"));
    }
    if (!is_token(header.name) || !is_header_value(header.value)) {
      refuse_framing("bad_header",
                     "found a header with a space before its colon or a control character; "
                     "expected headers by RFC 9110");
    }
  }
}

void parse_framing(const RawHead& raw, const Limits& limits, Head& head) {
  const std::vector<std::string_view> encodings = values_of(raw, "Transfer-Encoding");
  const std::string_view length = value_of(raw, "Content-Length");
  if (!encodings.empty()) {
    if (encodings.size() > 1 || !equal_names(encodings[0], "chunked") ||
        raw.version != "HTTP/1.1") {
      refuse_framing("bad_transfer_encoding",
                     "found a transfer encoding that is not supported; expected chunked alone");
    }
    if (!values_of(raw, "Content-Length").empty()) {
      refuse_framing("bad_transfer_encoding",
                     "found Transfer-Encoding and Content-Length; expected one of them");
    }
    head.chunked = true;
  } else if (!values_of(raw, "Content-Length").empty()) {
    if (length.empty() || !std::all_of(length.begin(), length.end(), is_digit)) {
      refuse_framing("bad_content_length", "found a Content-Length that is no number");
    }
    if (length.size() > 18) {
      refuse_framing("body_too_large",
                     str("found a Content-Length beyond 10^18; expected at most ", limits.body),
                     413);
    }
    uint64_t bytes = 0;
    for (const char c : length) bytes = bytes * 10 + static_cast<uint64_t>(c - '0');
    head.content_length = bytes;
    if (bytes > limits.body) {
      refuse(413, "body_too_large",
             str("found a body of ", bytes, " bytes; expected at most ", limits.body));
    }
  }
}

void parse_content(const RawHead& raw, Head& head) {
  std::string_view type = value_of(raw, "Content-Type");
  type = trimmed(type.substr(0, type.find(';')));
  head.json = equal_names(type, "application/json");
  head.form = equal_names(type, "application/x-www-form-urlencoded");
  const std::string_view coding = value_of(raw, "Content-Encoding");
  if (!coding.empty() && !equal_names(coding, "identity")) {
    refuse(415, "unsupported_encoding", "found a compressed body; expected a plain one");
  }
  const bool form_fits = head.form && head.route == Route::libre_translate;
  if (is_post(head.route) && !type.empty() && !head.json && !form_fits) {
    refuse(415, "unsupported_type",
           "found another Content-Type; expected application/json. With curl: -H "
           "'Content-Type: application/json'");
  }
  const std::string_view expect = value_of(raw, "Expect");
  head.expects_continue = equal_names(expect, "100-continue");
  if (!expect.empty() && !head.expects_continue) {
    refuse_framing("bad_expectation", "found another expectation; expected 100-continue", 417);
  }
}

bool is_harmless_id(std::string_view id) {
  return !id.empty() && id.size() <= kLongestRequestId &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return is_letter(c) || is_digit(c) || c == '.' || c == '_' || c == '-';
         });
}

void parse_identity(const RawHead& raw, Head& head) {
  const std::vector<std::string_view> ids = values_of(raw, "X-Request-Id");
  if (ids.size() == 1 && is_harmless_id(ids[0])) head.request_id = ids[0];
  head.origin = value_of(raw, "Origin");
  const std::string_view authorization = value_of(raw, "Authorization");
  if (authorization.size() > 7 && equal_names(authorization.substr(0, 7), "Bearer ")) {
    head.key = trimmed(authorization.substr(7));
  }
  for (const std::string_view accept : values_of(raw, "Accept")) {
    head.wants_events |= accept.find("text/event-stream") != accept.npos;
  }
  if (equal_names(value_of(raw, "Upgrade"), "websocket")) {
    refuse_framing("no_upgrade", "found an upgrade to WebSocket; expected plain HTTP");
  }
}

void parse_host(const RawHead& raw, Head& head) {
  if (values_of(raw, "Host").empty() && raw.version != "HTTP/1.0") {
    refuse_framing("no_host", "found no Host header; expected one");
  }
  head.host = value_of(raw, "Host");
  if (!head.host.empty() && !is_host(head.host)) {
    refuse_framing("bad_host", "found a Host that is no name or address with a port");
  }
}

/// The path, of http://host/path too, which names the host a second time.
void parse_target(const RawHead& raw, const Limits& limits, Head& head) {
  if (raw.target.size() > limits.target) {
    refuse_framing("target_too_long",
                   str("found a path and query of ", raw.target.size(), " bytes; expected at most ",
                       limits.target),
                   414);
  }
  std::string_view target = raw.target;
  constexpr std::string_view kScheme = "http://";
  if (equal_names(target.substr(0, kScheme.size()), kScheme)) {
    target.remove_prefix(kScheme.size());
    head.host = target.substr(0, target.find('/'));
    target.remove_prefix(head.host.size());
    if (!is_host(head.host)) refuse_framing("bad_host", "found a target without a host");
  }
  if (target == "*" && raw.method == "OPTIONS") {
    head.path = target;
    return;
  }
  if (!is_path(target)) {
    refuse_framing("bad_target", "found no path by RFC 3986; expected one like /v1/translate");
  }
  const size_t question = std::min(target.find('?'), target.size());
  head.path = target.substr(0, question);
  head.key_in_query = target.substr(question).find("key=") != target.npos;
  head.route = route_of(head.path);
}

void parse(const RawHead& raw, const Limits& limits, Head& head) {
  if (!raw.lines.empty() && !are_header_lines(raw.lines)) {
    refuse_framing("bad_header",
                   "found a line that is folded, has a control character or does not end with "
                   "CR LF; expected headers by RFC 9112");
  }
  check_headers(raw, limits);
  parse_host(raw, head);
  parse_target(raw, limits, head);
  parse_identity(raw, head);
  parse_framing(raw, limits, head);
  check_method(raw.method, head);
  if (head.key_in_query) {
    refuse(400, "key_in_query",
           "found a key in the query, where logs would keep it; expected the header "
           "Authorization: Bearer KEY");
  }
  if (raw.method != "OPTIONS") parse_content(raw, head);
}

}  // namespace

Head parse_head(const RawHead& raw, const Limits& limits) {
  Head head;
  try {
    parse(raw, limits, head);
  } catch (const Refused& refused) {
    head.refusal = refused.refusal();
  }
  return head;
}

}  // namespace heddle::serve
