// What the server says: JSON and headers, without anything that was asked.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "heddle/decode/service_types.h"
#include "heddle/io/value.h"
#include "heddle/serve/refused.h"

namespace heddle::serve {

class Delivery;

struct Reply {
  int status = 200;
  std::string_view type = "application/json";
  std::string body;
  bool page = false;  ///< may load what lies beside it
  std::vector<std::pair<std::string, std::string>> headers{};
};

/// {"error": {"code", "message"}}, or {"error": message} as LibreTranslate says it.
Reply error_reply(const Refusal& refusal, bool libre);
io::Value error_value(const Refusal& refusal);

/// Of a translation that did not finish.
Refusal refusal_of(const decode::Outcome& outcome);

/// Of a submission that was not accepted.
Refusal refusal_of(decode::Verdict verdict);

Reply translation_reply(const Delivery& delivery, const decode::Outcome& outcome);
Reply libre_reply(const Delivery& delivery, std::string_view detected_source);

/// The data of the last event: usage and times.
io::Value done_value(const decode::Outcome& outcome);

/// What is told of one model.
struct ModelSummary {
  std::string name, source, target;
  int64_t parameters = 0, bytes = 0;
};
Reply models_reply(const std::vector<ModelSummary>& models);
Reply languages_reply(const std::vector<ModelSummary>& models);

Reply text_reply(int status, std::string_view state);

}  // namespace heddle::serve
