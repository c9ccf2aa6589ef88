// A tree of plain data: what JSON and YAML files hold, without their libraries.
//
//   const Value value = parse_json(text, "config.json");
//   const Field config(value, "config.json");
//   const int64_t width = config["d_model"].integer(1, 65536);
//
// A Field knows its place, so that every error names file and field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace heddle::io {

class Value {
 public:
  struct Member;
  using List = std::vector<Value>;
  using Map = std::vector<Member>;  ///< in the order of the file, no key twice

  // Not inline: a variant of itself makes much code, and Member is not complete here.
  Value();  ///< null
  Value(const Value& other);
  Value(Value&& other) noexcept;
  Value& operator=(const Value& other);
  Value& operator=(Value&& other) noexcept;
  ~Value();

  Value(bool value);
  Value(int value);
  Value(int64_t value);
  Value(double value);
  Value(const char* value);
  Value(std::string value);
  Value(List value);
  Value(Map value);

  bool is_null() const { return std::holds_alternative<std::monostate>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&data_); }
  const double* number() const { return std::get_if<double>(&data_); }  ///< not an integer
  const std::string* text() const { return std::get_if<std::string>(&data_); }
  const List* list() const { return std::get_if<List>(&data_); }
  const Map* map() const { return std::get_if<Map>(&data_); }
  List* list() { return std::get_if<List>(&data_); }
  Map* map() { return std::get_if<Map>(&data_); }

  /// The member of a map, or nullptr.
  const Value* find(std::string_view key) const;

  /// Adds or replaces a member; a null becomes a map.
  void set(std::string_view key, Value value);

  /// "the text 'x'", "an object of 3 members", … for errors.
  std::string description() const;

  bool operator==(const Value& other) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Map> data_;
};

struct Value::Member {
  std::string key;
  Value value;
  bool operator==(const Member&) const = default;
};

/// A value and its place in a file.
class Field {
 public:
  Field(const Value& value, std::string place) : value_(&value), place_(std::move(place)) {}

  const Value& value() const { return *value_; }
  const std::string& place() const { return place_; }

  /// A member of a map; throws when it is not there.
  Field operator[](std::string_view key) const;

  /// A member of a map, unless it is absent or null.
  std::optional<Field> find(std::string_view key) const;

  /// The items of a list.
  std::vector<Field> items() const;
  /// The members of a map.
  const Value::Map& members() const;

  int64_t integer(int64_t low, int64_t high) const;
  double number() const;  ///< an integer too
  bool boolean() const;
  const std::string& text() const;

  /// Of the member `key`, or what stands in for it when it is absent or null.
  int64_t integer_or(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const;
  double number_or(std::string_view key, double otherwise) const;
  bool boolean_or(std::string_view key, bool otherwise) const;
  std::string text_or(std::string_view key, std::string_view otherwise) const;

  /// Throws "place: found …; expected …".
  [[noreturn]] void fail(std::string_view expected) const;

 private:
  const Value* value_;
  std::string place_;
};

}  // namespace heddle::io
