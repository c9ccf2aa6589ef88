// Fuzz target: requests to the server. The first byte chooses the parser; whatever comes, a request
// is understood or refused, and a refusal is short and has a status of its own.
#include <string>
#include <string_view>

#include "fuzz/source_of.h"
#include "heddle/serve/document.h"
#include "heddle/serve/head.h"
#include "heddle/serve/replies.h"
#include "heddle/serve/request.h"

namespace {

using heddle::fuzz::require;
using namespace heddle::serve;

void check(const Refusal& refusal) {
  require(refusal.status >= 400 && refusal.status <= 505, "serve_request: no status of an error");
  require(!refusal.code.empty(), "serve_request: a refusal without a code");
  require(error_reply(refusal, false).body.size() <= 4096, "serve_request: a long error");
}

/// Every line of a text comes back, in its place.
void check(const TranslateRequest& request) {
  request.options.check();
  Document document(request.texts);
  const std::vector<std::string> lines = document.take_lines();
  for (size_t i = 0; i < lines.size(); ++i) {
    require(!lines[i].empty() && lines[i].find('\n') == std::string::npos,
            "serve_request: not a line");
    heddle::decode::Translation translation;
    translation.text = lines[i];
    document.put(i, std::move(translation));
  }
  require(document.texts() == request.texts.size(), "serve_request: another number of texts");
  for (size_t text = 0; text < document.texts(); ++text) {
    std::string plain;  // as it came, without CR at the ends of lines
    for (const char c : request.texts[text] + "\n") {
      if (c == '\n' && plain.ends_with('\r')) plain.pop_back();
      plain += c;
    }
    require(document.joined(text, 0).text + "\n" == plain, "serve_request: another text");
  }
}

/// Lines of "name: value" behind a request line, and as libmicrohttpd leaves them.
void check_head(std::string_view text) {
  const auto take = [&text](char end) {
    const std::string_view part = text.substr(0, text.find(end));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    return part;
  };
  RawHead raw{take(' '), take(' '), take('\n'), {}, {}};
  std::string lines(text);
  while (!text.empty()) {
    const std::string_view line = take('\n');
    const size_t colon = std::min(line.find(':'), line.size());
    raw.headers.push_back({line.substr(0, colon), line.substr(std::min(colon + 1, line.size()))});
  }
  Head head = parse_head(raw, {});
  if (head.refusal) check(*head.refusal);
  for (char& c : lines) c = c == '\n' || c == ':' ? '\0' : c;
  raw.lines = lines;
  head = parse_head(raw, {});
  if (head.refusal) check(*head.refusal);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 4) {
      case 0:
        check(parse_translate(text, {}));
        break;
      case 1:
        check(parse_libre(text, true, {}));
        break;
      case 2:
        check(parse_libre(text, false, {}));
        break;
      default:
        check_head(text);
    }
  } catch (const Refused& refused) {
    check(refused.refusal());
  }
  return 0;
}
