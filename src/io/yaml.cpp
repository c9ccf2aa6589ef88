#include "heddle/io/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <sstream>
#include <string>
#include <unordered_set>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

constexpr size_t kDeepest = 64;

std::string position_text(const YAML::Mark& mark) {
  return str("line ", mark.line + 1, ", column ", mark.column + 1);
}

/// A plain scalar by the core schema.
Value typed(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return {};
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
  const char* end = text.data() + text.size();
  int64_t integer = 0;
  if (const auto [rest, error] = std::from_chars(begin, end, integer);
      error == std::errc{} && rest == end) {
    return integer;
  }
  double number = 0;
  const bool starts_as_number =
      begin != end && (*begin == '-' || *begin == '.' || (*begin >= '0' && *begin <= '9'));
  if (const auto [rest, error] = std::from_chars(begin, end, number);
      starts_as_number && error == std::errc{} && rest == end) {
    return number;
  }
  return text;
}

class Builder : public YAML::EventHandler {
 public:
  explicit Builder(std::string_view name) : name_(name) {}

  Value take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { add({}, mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "an alias", "plain values");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    // "?" is a plain scalar, "!" a quoted one; other tags ask for types that nothing here has.
    add(tag == "?" || tag.empty() ? typed(text) : Value(text), mark, &text);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(mark, false);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(mark, true);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    bool is_map;
    bool has_key = false;
    std::string key;
    Value::Map map;
    Value::List list;
    std::unordered_set<std::string> keys;
    YAML::Mark mark;
  };

  [[noreturn]] void fail(const YAML::Mark& mark, std::string_view found,
                         std::string_view expected) const {
    detail::throw_error(str("yaml: ", name_, ": ", position_text(mark), ": found ", found,
                            "; expected ", expected));
  }

  void add(Value value, const YAML::Mark& mark, const std::string* text = nullptr) {
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open& top = open_.back();
    if (!top.is_map) {
      top.list.push_back(std::move(value));
    } else if (top.has_key) {
      top.map.push_back({std::move(top.key), std::move(value)});
      top.has_key = false;
    } else {
      if (text == nullptr) fail(mark, "a key that is a list, a map or null", "text");
      if (!top.keys.insert(*text).second) {
        fail(mark, str("the key ", quoted(*text), " twice"), "it once");
      }
      top.key = *text;
      top.has_key = true;
    }
  }

  void open(const YAML::Mark& mark, bool is_map) {
    if (open_.size() >= kDeepest) {
      fail(mark, str("more than ", kDeepest, " lists and maps inside one another"), "at most that");
    }
    open_.push_back({is_map, false, {}, {}, {}, {}, mark});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    add(done.is_map ? Value(std::move(done.map)) : Value(std::move(done.list)), done.mark);
  }

  std::string_view name_;
  Value root_;
  std::vector<Open> open_;
};

}  // namespace

Value parse_yaml(std::string_view text, std::string_view name) {
  HEDDLE_CHECK(text.size() <= kLongestYaml, "yaml: ", name, ": found ", text.size(),
               " bytes; expected at most ", kLongestYaml);
  std::istringstream stream{std::string(text)};
  Builder builder(name);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    HEDDLE_CHECK(!parser.HandleNextDocument(builder), "yaml: ", name,
                 ": found a second document; expected one");
  } catch (const YAML::Exception& error) {
    detail::throw_error(
        str("yaml: ", name, ": ", position_text(error.mark), ": found ", quoted(error.msg)));
  }
  return builder.take();
}

}  // namespace heddle::io
