#include "heddle/data/object_lines.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/text/utf8.h"

namespace heddle::data {

bool is_only_space(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

uint64_t replace_nul(std::string& given) {
  const auto count = std::count(given.begin(), given.end(), '\0');
  if (count == 0) return 0;
  std::string whole;
  text::append_replaced(whole, given, std::string_view("\0", 1), text::kReplacementUtf8);
  given = std::move(whole);
  return static_cast<uint64_t>(count);
}

void ConversationCounts::add(const TokenCounts& counts) {
  tokens.too_many_tokens += counts.too_many_tokens;
  tokens.nothing_learned += counts.nothing_learned;
  tokens.refused += counts.refused;
  tokens.truncated += counts.truncated;
  tokens.tokens += counts.tokens;
  tokens.learned += counts.learned;
  kept -= counts.too_many_tokens + counts.nothing_learned + counts.refused;
}

std::vector<std::string> ConversationCounts::warnings() const {
  std::vector<std::string> found;
  if (kept * 2 < lines - blank_lines) {
    found.push_back("more is left out than kept: " + summary());
  }
  if (tokens.truncated * 10 > kept) {
    found.push_back(str(tokens.truncated, " of ", kept,
                        " examples are cut at the longest length; those that end without their "
                        "end of turn do not teach the model to stop"));
  }
  if (kept > 0 && tokens.learned * 50 < tokens.tokens) {
    found.push_back(
        str("only ", tokens.learned, " of ", tokens.tokens, " tokens are learned; see train_on"));
  }
  return found;
}

std::string ConversationCounts::summary() const {
  std::string text = str(lines, " lines, ", kept, " kept");
  const auto say = [&text](uint64_t count, std::string_view what) {
    if (count > 0) text += str(", ", count, " ", what);
  };
  say(blank_lines, "empty lines");
  say(empty, "left out without text or answer");
  say(too_long_lines, "left out as too many bytes");
  say(not_json, "left out as no JSON");
  say(wrong_fields, "left out for their fields");
  say(unsupported, "left out for tools or content parts");
  say(tokens.too_many_tokens, "left out as too many tokens");
  say(tokens.nothing_learned, "left out without a learned token");
  say(tokens.refused, "left out as the chat template refuses them");
  say(tokens.truncated, "cut at the longest length");
  say(not_utf8, "faults of UTF-8 replaced");
  say(nul, "NUL replaced");
  return text;
}

ObjectLines::ObjectLines(text::ReadBytes read, std::string name, const ConversationOptions& options)
    : lines_(std::move(read), name, options.longest_line),
      name_(std::move(name)),
      longest_(options.longest_line),
      on_bad_line_(options.on_bad_line) {}

bool ObjectLines::next(const std::function<void(const io::Field& object)>& parse,
                       ConversationCounts& counts) {
  while (lines_.next(line_)) {
    ++counts.lines;
    if (!lines_.skipped() && is_only_space(line_)) {
      ++counts.blank_lines;
    } else if (parse_line(parse, counts)) {
      return true;
    }
  }
  return false;
}

bool ObjectLines::parse_line(const std::function<void(const io::Field& object)>& parse,
                             ConversationCounts& counts) {
  const std::string where = str("data: ", name_, ": line ", lines_.lines());
  uint64_t* fault = &counts.too_long_lines;
  try {
    HEDDLE_CHECK(!lines_.skipped(), where, ": found more than ", longest_,
                 " bytes; expected a JSON object. Hint: on_bad_line=skip leaves such lines out");
    fault = &counts.not_json;
    if (!text::is_valid_utf8(line_)) {
      std::string repaired;
      counts.not_utf8 += text::append_repaired(repaired, line_);
      line_ = std::move(repaired);
    }
    const io::JsonLimits limits{.token = 3 * longest_, .memory = 16 * longest_};
    const io::Value value = io::parse_json(line_, where, limits);
    fault = &counts.wrong_fields;
    parse(io::Field(value, where));
    return true;
  } catch (const UnsupportedContent&) {
    if (on_bad_line_ == OnBadLine::raise) throw;
    ++counts.unsupported;
  } catch (const Error&) {
    if (on_bad_line_ == OnBadLine::raise) throw;
    ++*fault;
  }
  return false;
}

}  // namespace heddle::data
