// The head of a request: what HTTP leaves open is refused here, before a byte of the body is
// looked at. Pure functions of what libmicrohttpd has read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/serve/refused.h"
#include "heddle/serve/routes.h"
#include "heddle/serve/settings.h"

namespace heddle::serve {

struct Header {
  std::string_view name, value;
};

/// As it came.
struct RawHead {
  std::string_view method, target, version;
  std::vector<Header> headers;

  /// The bytes from behind the version to the last line end as libmicrohttpd leaves them in its
  /// buffer, with NUL for CR, LF and the first colon of a line; empty: not to be looked at.
  std::string_view lines;
};

/// What the rest of the server needs of it.
struct Head {
  Route route = Route::none;
  std::string path;
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool expects_continue = false;
  bool key_in_query = false;
  bool json = false, form = false;  ///< content type
  bool wants_events = false;        ///< Accept: text/event-stream
  std::string host, origin, key;    ///< key: of Authorization: Bearer
  std::string request_id;           ///< only when it is a harmless one
  std::optional<Refusal> refusal;   ///< in place of what was asked
};

/// Never throws; what cannot be answered has a refusal, and a route as far as it was understood.
Head parse_head(const RawHead& raw, const Limits& limits);

}  // namespace heddle::serve
