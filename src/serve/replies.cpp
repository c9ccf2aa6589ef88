#include "heddle/serve/replies.h"

#include <algorithm>
#include <map>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/serve/delivery.h"
#include "heddle/serve/languages.h"
#include "heddle/serve/log.h"

namespace heddle::serve {

namespace {

using io::Value;

constexpr std::string_view kRetryAfter = "1";  // seconds

Value usage_value(const decode::Usage& usage) {
  Value::Map map;
  map.push_back({"source_words", usage.source_words});
  map.push_back({"source_tokens", usage.source_tokens});
  map.push_back({"target_tokens", usage.target_tokens});
  return map;
}

Value times_value(const decode::Outcome& outcome) {
  Value::Map map;
  map.push_back({"queue", milliseconds(outcome.queue_seconds)});
  map.push_back({"total", milliseconds(outcome.total_seconds)});
  return map;
}

Value text_value(const Document& document, size_t text, const decode::Options& options) {
  const Document::Variant best = document.joined(text, 0);
  Value::Map map;
  map.push_back({"text", best.text});
  if (options.scores) map.push_back({"score", best.score});
  if (options.n_best > 1) {
    Value::List variants;
    for (size_t rank = 0; rank < document.variants(text); ++rank) {
      const Document::Variant variant = document.joined(text, rank);
      Value::Map entry;
      entry.push_back({"text", variant.text});
      entry.push_back({"score", variant.score});
      variants.push_back(std::move(entry));
    }
    map.push_back({"variants", std::move(variants)});
  }
  return map;
}

Reply json_reply(Value value, int status = 200) {
  Reply reply;
  reply.status = status;
  reply.body = io::to_json(value) + "\n";
  return reply;
}

Value text_or_null(const std::string& text) { return text.empty() ? Value() : Value(text); }

}  // namespace

Value error_value(const Refusal& refusal) {
  Value::Map error;
  error.push_back({"code", refusal.code});
  error.push_back({"message", refusal.message});
  Value::Map whole;
  whole.push_back({"error", std::move(error)});
  return whole;
}

Reply error_reply(const Refusal& refusal, bool libre) {
  Value::Map plain;
  plain.push_back({"error", refusal.message});
  Reply reply = json_reply(libre ? Value(plain) : error_value(refusal), refusal.status);
  if (refusal.status == 429 || refusal.status == 503) {
    reply.headers.emplace_back("Retry-After", kRetryAfter);
  }
  if (refusal.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

Refusal refusal_of(const decode::Outcome& outcome) {
  if (outcome.end == decode::End::expired) {
    return {504, "deadline", "found no time left; expected a later deadline or a shorter text"};
  }
  if (outcome.end == decode::End::cancelled) {
    return {503, "stopping", "found a server that stops; try another or later"};
  }
  return {503, "failed", "found an error while translating; it is in the server's log"};
}

Refusal refusal_of(decode::Verdict verdict) {
  switch (verdict) {
    case decode::Verdict::client_full:
      return {429, "client_queue_full",
              "found half of the queue taken by this client while others wait; expected less. Try "
              "again later"};
    case decode::Verdict::too_large:
      return {413, "text_too_large",
              "found more text than the queue ever holds; expected less. Send several requests"};
    case decode::Verdict::closed:
      return {503, "stopping", "found a server that stops; try another or later"};
    case decode::Verdict::full:
    case decode::Verdict::accepted:
      break;
  }
  return {429, "queue_full", "found the queue full; expected room. Try again later"};
}

Value done_value(const decode::Outcome& outcome) {
  Value::Map map;
  map.push_back({"usage", usage_value(outcome.usage)});
  map.push_back({"milliseconds", times_value(outcome)});
  return map;
}

Reply translation_reply(const Delivery& delivery, const decode::Outcome& outcome) {
  Value::List translations;
  for (size_t text = 0; text < delivery.document().texts(); ++text) {
    translations.push_back(text_value(delivery.document(), text, delivery.request().options));
  }
  Value::Map map;
  map.push_back({"model", delivery.model()});
  map.push_back({"translations", std::move(translations)});
  map.push_back({"usage", usage_value(outcome.usage)});
  map.push_back({"milliseconds", times_value(outcome)});
  return json_reply(std::move(map));
}

Reply libre_reply(const Delivery& delivery, std::string_view detected_source) {
  Value::Map detected;
  detected.push_back({"language", std::string(detected_source)});
  detected.push_back({"confidence", int64_t{100}});
  const Document& document = delivery.document();
  Value::Map map;
  if (delivery.request().is_list) {
    Value::List texts, languages;
    for (size_t text = 0; text < document.texts(); ++text) {
      texts.push_back(document.joined(text, 0).text);
      languages.push_back(detected);
    }
    map.push_back({"translatedText", std::move(texts)});
    if (!detected_source.empty()) map.push_back({"detectedLanguage", std::move(languages)});
  } else {
    map.push_back({"translatedText", document.joined(0, 0).text});
    if (!detected_source.empty()) map.push_back({"detectedLanguage", std::move(detected)});
  }
  return json_reply(std::move(map));
}

Reply models_reply(const std::vector<ModelSummary>& models) {
  Value::List list;
  for (const ModelSummary& model : models) {
    Value::Map map;
    map.push_back({"name", model.name});
    map.push_back({"source", text_or_null(model.source)});
    map.push_back({"target", text_or_null(model.target)});
    map.push_back({"parameters", model.parameters});
    map.push_back({"bytes", model.bytes});
    list.push_back(std::move(map));
  }
  Value::Map whole;
  whole.push_back({"models", std::move(list)});
  return json_reply(std::move(whole));
}

Reply languages_reply(const std::vector<ModelSummary>& models) {
  std::map<std::string, Value::List> targets;
  for (const ModelSummary& model : models) {
    if (!model.source.empty()) targets[model.source].push_back(model.target);
  }
  Value::List list;
  for (auto& [source, reached] : targets) {
    Value::Map map;
    map.push_back({"code", source});
    map.push_back({"name", std::string(language_name(source))});
    map.push_back({"targets", std::move(reached)});
    list.push_back(std::move(map));
  }
  return json_reply(std::move(list));
}

Reply text_reply(int status, std::string_view state) {
  Value::Map map;
  map.push_back({"status", std::string(state)});
  return json_reply(std::move(map), status);
}

}  // namespace heddle::serve
