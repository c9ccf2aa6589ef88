#include "heddle/io/value.h"

#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

Value::Value() = default;
Value::Value(const Value& other) = default;
Value::Value(Value&& other) noexcept = default;
Value& Value::operator=(const Value& other) = default;
Value& Value::operator=(Value&& other) noexcept = default;
Value::~Value() = default;

Value::Value(bool value) : data_(value) {}
Value::Value(int value) : data_(int64_t{value}) {}
Value::Value(int64_t value) : data_(value) {}
Value::Value(double value) : data_(value) {}
Value::Value(const char* value) : data_(std::string(value)) {}
Value::Value(std::string value) : data_(std::move(value)) {}
Value::Value(List value) : data_(std::move(value)) {}
Value::Value(Map value) : data_(std::move(value)) {}

const Value* Value::find(std::string_view key) const {
  if (const Map* members = map()) {
    for (const Member& member : *members) {
      if (member.key == key) return &member.value;
    }
  }
  return nullptr;
}

void Value::set(std::string_view key, Value value) {
  if (is_null()) data_ = Map{};
  Map* members = map();
  HEDDLE_CHECK(members != nullptr, "io: set ", quoted(key), " of ", description(),
               "; expected an object");
  for (Member& member : *members) {
    if (member.key == key) {
      member.value = std::move(value);
      return;
    }
  }
  members->push_back({std::string(key), std::move(value)});
}

std::string Value::description() const {
  if (const bool* value = boolean()) return *value ? "true" : "false";
  if (const int64_t* value = integer()) return str("the number ", *value);
  if (const double* value = number()) return str("the number ", *value);
  if (const std::string* value = text()) return str("the text ", quoted(*value));
  if (const List* value = list()) return str("a list of ", value->size(), " values");
  if (const Map* value = map()) return str("an object of ", value->size(), " members");
  return "null";
}

bool Value::operator==(const Value& other) const { return data_ == other.data_; }

void Field::fail(std::string_view expected) const {
  detail::throw_error(str(place_, ": found ", value_->description(), "; expected ", expected));
}

Field Field::operator[](std::string_view key) const {
  members();  // checks that it is one
  const Value* value = value_->find(key);
  HEDDLE_CHECK(value != nullptr, place_, ": found no field ", quoted(key), "; expected one");
  return {*value, str(place_, ": ", key)};
}

std::optional<Field> Field::find(std::string_view key) const {
  members();
  const Value* value = value_->find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return Field(*value, str(place_, ": ", key));
}

std::vector<Field> Field::items() const {
  const Value::List* list = value_->list();
  if (list == nullptr) fail("a list");
  std::vector<Field> fields;
  fields.reserve(list->size());
  for (size_t i = 0; i < list->size(); ++i)
    fields.emplace_back((*list)[i], str(place_, "[", i, "]"));
  return fields;
}

const Value::Map& Field::members() const {
  const Value::Map* map = value_->map();
  if (map == nullptr) fail("an object");
  return *map;
}

int64_t Field::integer(int64_t low, int64_t high) const {
  const int64_t* value = value_->integer();
  if (value == nullptr || *value < low || *value > high) {
    fail(str("an integer of ", low, " … ", high));
  }
  return *value;
}

double Field::number() const {
  if (const int64_t* value = value_->integer()) return static_cast<double>(*value);
  if (value_->number() == nullptr) fail("a number");
  return *value_->number();
}

bool Field::boolean() const {
  if (value_->boolean() == nullptr) fail("true or false");
  return *value_->boolean();
}

const std::string& Field::text() const {
  if (value_->text() == nullptr) fail("text");
  return *value_->text();
}

int64_t Field::integer_or(std::string_view key, int64_t otherwise, int64_t low,
                          int64_t high) const {
  const std::optional<Field> field = find(key);
  return field ? field->integer(low, high) : otherwise;
}

double Field::number_or(std::string_view key, double otherwise) const {
  const std::optional<Field> field = find(key);
  return field ? field->number() : otherwise;
}

bool Field::boolean_or(std::string_view key, bool otherwise) const {
  const std::optional<Field> field = find(key);
  return field ? field->boolean() : otherwise;
}

std::string Field::text_or(std::string_view key, std::string_view otherwise) const {
  const std::optional<Field> field = find(key);
  return field ? field->text() : std::string(otherwise);
}

}  // namespace heddle::io
