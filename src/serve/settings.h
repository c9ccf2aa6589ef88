// What a server is told when it starts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/decode/translator.h"

namespace heddle::serve {

/// What a request may cost. Everything beyond is refused, not queued.
struct Limits {
  size_t body = size_t{1} << 20;  ///< bytes
  size_t headers = 64;
  size_t header = 8192;  ///< bytes of one, name and value
  size_t target = 8192;  ///< bytes of path and query
  size_t json_depth = 64;
  size_t line_characters = 100'000;
  size_t lines = 100'000;         ///< of one request, empty ones too
  int64_t beam = 8;               ///< and n_best
  int64_t target_tokens = 1024;   ///< largest max_length
  int64_t queue_tokens = 65'536;  ///< source tokens that wait, of one model
  int64_t connections = 2'000;
  size_t bodies = size_t{64} << 20;  ///< bytes of all requests that are being received

  double header_seconds = 10;    ///< from the connection, or the request line, to the last header
  double body_seconds = 30;      ///< from the last header to the end of the body
  double idle_seconds = 60;      ///< between requests
  double write_seconds = 30;     ///< for a reply, or until a reader of events takes the next ones
  int64_t deadline_ms = 60'000;  ///< of a translation that names none, and the longest
};

struct ServerSettings {
  struct Model {
    std::string name;  ///< "en-pt" gives source and target language
    std::string path;
  };
  std::vector<Model> models;
  decode::TranslatorSettings translator{};  ///< of each model

  std::string host = "127.0.0.1";  ///< address to listen on
  uint16_t port = 5000;            ///< 0: any that is free

  std::vector<std::string> api_keys{};    ///< empty: nobody needs one
  std::vector<std::string> cors{};        ///< origins that may read replies; "*": all
  std::vector<std::string> host_names{};  ///< in the Host header, beside the loopback's own

  Limits limits{};
  bool json_log = false;
  std::function<void(std::string_view line)> log{};  ///< from any thread
};

}  // namespace heddle::serve
