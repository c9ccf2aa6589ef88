#include "heddle/serve/request.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/serve/fields.h"
#include "heddle/serve/form.h"
#include "heddle/text/utf8.h"

namespace heddle::serve {

namespace {

constexpr size_t kLongestName = 64;     // of models and languages
constexpr size_t kLongestPrefix = 512;  // bytes
constexpr size_t kMostForms = 20'000;   // fields of a form

void check_texts(const std::vector<std::string>& texts, const Limits& limits) {
  size_t lines = 0;
  for (const std::string& text : texts) {
    lines += 1 + static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      const std::string_view line = std::string_view(text).substr(begin, end - begin);
      if (line.size() > limits.line_characters &&
          text::count_code_points(line) > limits.line_characters) {
        refuse(422, "line_too_long",
               str("found a line of more than ", limits.line_characters,
                   " characters; expected at most that. Break it into lines"));
      }
      begin = end + 1;
    }
  }
  if (lines > limits.lines) {
    refuse(
        422, "too_many_lines",
        str("found ", lines, " lines; expected at most ", limits.lines, ". Send several requests"));
  }
}

std::string name_of(const Fields& fields, std::string_view key) {
  std::string name = fields.text(key);
  if (name.size() > kLongestName) fields.fail(key, str("at most ", kLongestName, " bytes"));
  return name;
}

void parse_options(const io::Value& value, const Limits& limits, TranslateRequest& request) {
  const Fields fields(value, "options",
                      {"beam", "n_best", "length_penalty", "max_length", "scores", "prefix"});
  decode::Options& options = request.options;
  options.beam = static_cast<int>(fields.integer("beam", 1, 1, limits.beam));
  options.n_best = static_cast<int>(fields.integer("n_best", 1, 1, options.beam));
  options.length_penalty = fields.number("length_penalty", 1, 0, 10);
  options.max_length = fields.integer("max_length", 0, 1, limits.target_tokens);
  options.scores = fields.boolean("scores", false) || options.n_best > 1;
  request.prefix = fields.text("prefix");
  if (request.prefix.size() > kLongestPrefix) {
    fields.fail("prefix", str("at most ", kLongestPrefix, " bytes"));
  }
  if (request.prefix.find('\n') != request.prefix.npos) fields.fail("prefix", "a single line");
}

TranslateRequest parse_libre_json(std::string_view body, const Limits& limits) {
  const io::Value value = parse_body(body, limits);
  const Fields fields(value, "body",
                      {"q", "source", "target", "format", "api_key", "alternatives", "secret"});
  TranslateRequest request;
  request.api_key = fields.text("api_key");
  request.texts = fields.texts("q", request.is_list);
  request.source = name_of(fields, "source");
  request.target = name_of(fields, "target");
  const std::string format = fields.text("format");
  if (!format.empty() && format != "text") {
    refuse(400, "unsupported_format", "found another format; expected text");
  }
  return request;
}

TranslateRequest parse_libre_form(std::string_view body) {
  TranslateRequest request;
  for (auto& [name, value] : parse_form(body, kMostForms)) {
    checked_text(value);
    if (name == "q") {
      request.texts.push_back(std::move(value));
    } else if (name == "source" || name == "target") {
      if (value.size() > kLongestName) {
        refuse(400, "bad_field", str(name, ": found a long text; expected the code of a language"));
      }
      (name == "source" ? request.source : request.target) = std::move(value);
    } else if (name == "api_key") {
      request.api_key = std::move(value);
    } else if (name == "format" && value != "text") {
      refuse(400, "unsupported_format", "found another format; expected text");
    } else if (name != "format" && name != "alternatives" && name != "secret") {
      refuse(400, "unknown_field",
             "found an unknown field; expected q, source, target, format, api_key");
    }
  }
  request.is_list = request.texts.size() > 1;
  return request;
}

}  // namespace

TranslateRequest parse_translate(std::string_view body, const Limits& limits) {
  const io::Value value = parse_body(body, limits);
  const Fields fields(value, "body", {"model", "text", "options", "deadline_ms", "stream"});
  TranslateRequest request;
  if (fields.find("model") != nullptr) request.model = name_of(fields, "model");
  request.texts = fields.texts("text", request.is_list);
  if (const io::Value* options = fields.find("options")) {
    parse_options(*options, limits, request);
  }
  if (fields.find("deadline_ms") != nullptr) {
    request.deadline_ms = fields.integer("deadline_ms", 0, 1, limits.deadline_ms);
  }
  request.stream = fields.boolean("stream", false);
  check_texts(request.texts, limits);
  return request;
}

TranslateRequest parse_libre(std::string_view body, bool form, const Limits& limits) {
  try {
    TranslateRequest request = form ? parse_libre_form(body) : parse_libre_json(body, limits);
    if (request.texts.empty() && !request.is_list) {
      refuse(400, "missing_field", "found no q; expected the text to translate");
    }
    if (request.source.empty() || request.target.empty()) {
      refuse(400, "missing_field", "found no source or target; expected codes of languages");
    }
    check_texts(request.texts, limits);
    return request;
  } catch (const Refused& refused) {
    Refusal refusal = refused.refusal();
    if (refusal.status == 422) refusal.status = 400;  // LibreTranslate knows no other
    throw Refused(std::move(refusal));
  }
}

}  // namespace heddle::serve
