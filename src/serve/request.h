// The body of a request: from bytes to what is to be translated. Pure functions that throw Refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/decode/options.h"
#include "heddle/serve/refused.h"
#include "heddle/serve/settings.h"

namespace heddle::serve {

/// What is to be translated, by whichever interface it came.
struct TranslateRequest {
  std::optional<std::string> model;  ///< not there: the only one there is
  std::vector<std::string> texts;    ///< each of one or more lines
  bool is_list = false;              ///< the client gave a list and gets one
  decode::Options options{};
  std::string prefix;
  std::optional<int64_t> deadline_ms;
  bool stream = false;

  // Of LibreTranslate's interface only.
  std::string source, target, api_key;
};

/// POST /v1/translate.
TranslateRequest parse_translate(std::string_view body, const Limits& limits);

/// POST /translate; `form`: URL-encoded, else JSON. Refuses with 400 alone.
TranslateRequest parse_libre(std::string_view body, bool form, const Limits& limits);

}  // namespace heddle::serve
