#include "heddle/io/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

/// "line 3, column 7" of a byte of the text.
std::string position_text(std::string_view text, size_t at) {
  const std::string_view before = text.substr(0, std::min(at, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t newline = before.rfind('\n');
  const size_t column = newline == before.npos ? before.size() + 1 : before.size() - newline;
  return str("line ", static_cast<int64_t>(line), ", column ", column);
}

/// Refuses tokens that are too long before the parser buffers them (it holds them twice), and NUL,
/// which the parser would take for the end of the text.
void check_tokens(std::string_view text, std::string_view name, size_t limit) {
  size_t begin = 0;
  bool quote = false;
  const auto check = [&](size_t at) {
    HEDDLE_CHECK(at - begin <= limit, "json: ", name, ": found a token of more than ", limit,
                 " bytes; expected at most that (offset ", begin, ")");
  };
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    HEDDLE_CHECK(c != '\0', "json: ", name, ": found a NUL; expected JSON (offset ", at, ")");
    if (quote && c == '\\') {
      ++at;
    } else if (c == '"') {
      check(at);
      begin = at + 1;
      quote = !quote;
    } else if (!quote && (c == ',' || c == ':' || c == '[' || c == ']' || c == '{' || c == '}' ||
                          c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
      check(at);
      begin = at + 1;
    }
  }
  check(std::max(begin, text.size()));
}

using TakeMember = std::function<void(std::string key, Value value)>;

/// Takes the parser's events and builds the tree. Nothing here recurses.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(std::string_view text, std::string_view name, const JsonLimits& limits, TakeMember take)
      : text_(text), name_(name), limits_(limits), take_(std::move(take)) {}

  Value take() { return std::move(root_); }

  bool null() override { return add({}); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(Value(int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= INT64_MAX) return add(Value(static_cast<int64_t>(value)));
    return add(Value(static_cast<double>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return add(Value(value)); }
  bool string(string_t& value) override {
    charge(value.capacity());
    return add(Value(std::move(value)));
  }
  bool binary(binary_t&) override { return false; }  // JSON has none
  bool start_object(size_t) override { return open(Value(Value::Map{})); }
  bool start_array(size_t) override { return open(Value(Value::List{})); }
  bool end_object() override {
    check_keys(open_.back().map);
    return close();
  }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    Value::Map& map = open_.back().map;
    charge(value.capacity() + 2 * sizeof(Value::Member));
    map.push_back({std::move(value), {}});
    return true;
  }

  bool parse_error(size_t at, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's text: "[json.exception…] parse error at line 1, column 2: syntax error …"
    std::string_view reason = error.what();
    const size_t colon = reason.find(": ");
    if (colon != reason.npos) reason.remove_prefix(colon + 2);
    std::string shown;
    for (const char c : reason.substr(0, 160)) {
      const auto byte = static_cast<unsigned char>(c);
      shown += byte >= 0x20 && byte < 0x7f ? c : '?';
    }
    detail::throw_error(str("json: ", name_, ": ", position_text(text_, at > 0 ? at - 1 : 0),
                            ": found ", shown, "; expected JSON (offset ", at, ")"));
  }

 private:
  /// A list or object that is not closed yet. Kept apart from its parent until then: a tree that
  /// grows in place would move.
  struct Open {
    bool is_map;
    Value::Map map;
    Value::List list;
  };

  bool add(Value value) {
    charge(2 * sizeof(Value));  // vectors double
    place(std::move(value));
    return true;
  }

  void place(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().is_map) {
      Value::Map& map = open_.back().map;
      map.back().value = std::move(value);
      if (take_ && open_.size() == 1) hand_over(map);
    } else {
      open_.back().list.push_back(std::move(value));
    }
  }

  void hand_over(Value::Map& map) {
    take_(std::move(map.back().key), std::move(map.back().value));
    map.clear();
    memory_ = 0;
  }

  bool open(const Value& kind) {
    HEDDLE_CHECK(open_.size() < limits_.depth, "json: ", name_, ": found more than ", limits_.depth,
                 " lists and objects inside one another; expected at most that");
    charge(2 * sizeof(Value));
    open_.push_back({kind.map() != nullptr, {}, {}});
    return true;
  }

  bool close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    place(done.is_map ? Value(std::move(done.map)) : Value(std::move(done.list)));
    return true;
  }

  void check_keys(const Value::Map& map) {
    keys_.clear();
    for (const Value::Member& member : map) keys_.push_back(member.key);
    std::sort(keys_.begin(), keys_.end());
    const auto twice = std::adjacent_find(keys_.begin(), keys_.end());
    HEDDLE_CHECK(twice == keys_.end(), "json: ", name_, ": found the key ", quoted(*twice),
                 " twice in one object; expected it once");
  }

  void charge(size_t bytes) {
    memory_ += bytes;
    HEDDLE_CHECK(memory_ <= limits_.memory, "json: ", name_, ": found values of more than ",
                 limits_.memory, " bytes; expected at most that");
  }

  std::string_view text_;
  std::string_view name_;
  JsonLimits limits_;
  TakeMember take_;
  Value root_;
  std::vector<Open> open_;
  std::vector<std::string_view> keys_;
  size_t memory_ = 0;
};

Value parse(std::string_view text, std::string_view name, const JsonLimits& limits,
            TakeMember take) {
  check_tokens(text, name, limits.token);
  Builder builder(text, name, limits, std::move(take));
  const bool done = nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  HEDDLE_CHECK(done, "json: ", name, ": cannot be parsed");
  return builder.take();
}

}  // namespace

Value parse_json(std::string_view text, std::string_view name, const JsonLimits& limits) {
  return parse(text, name, limits, {});
}

void parse_json_members(std::string_view text, std::string_view name, const TakeMember& take,
                        const JsonLimits& limits) {
  const Value value = parse(text, name, limits, take);
  HEDDLE_CHECK(value.map() != nullptr, "json: ", name, ": found ", value.description(),
               "; expected an object");
}

}  // namespace heddle::io
