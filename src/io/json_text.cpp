// Writes values as JSON.
#include <charconv>
#include <cmath>
#include <string>

#include "heddle/base/error.h"
#include "heddle/io/json.h"

namespace heddle::io {

namespace {

void append_text(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20) {
      out += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_number(std::string& out, double value) {
  HEDDLE_CHECK(std::isfinite(value), "json: found the number ", value, "; expected a finite one");
  const std::string digits = str(value);
  out += digits;
  // Stays a number with a fraction when it is read again.
  if (digits.find_first_of(".e") == digits.npos) out += ".0";
}

class Writer {
 public:
  explicit Writer(int indent) : indent_(indent) {}

  void write(const Value& value) {
    if (const bool* truth = value.boolean()) {
      out += *truth ? "true" : "false";
    } else if (const int64_t* integer = value.integer()) {
      out += str(*integer);
    } else if (const double* number = value.number()) {
      append_number(out, *number);
    } else if (const std::string* text = value.text()) {
      append_text(out, *text);
    } else if (const Value::List* list = value.list()) {
      write_list(*list);
    } else if (const Value::Map* map = value.map()) {
      write_map(*map);
    } else {
      out += "null";
    }
  }

  std::string out;

 private:
  // Lists stay on one line: they hold shapes and short things here.
  void write_list(const Value::List& list) {
    out += '[';
    for (size_t i = 0; i < list.size(); ++i) {
      if (i > 0) out += indent_ > 0 ? ", " : ",";
      write(list[i]);
    }
    out += ']';
  }

  void write_map(const Value::Map& map) {
    out += '{';
    ++depth_;
    for (size_t i = 0; i < map.size(); ++i) {
      if (i > 0) out += ',';
      new_line();
      append_text(out, map[i].key);
      out += indent_ > 0 ? ": " : ":";
      write(map[i].value);
    }
    --depth_;
    if (!map.empty()) new_line();
    out += '}';
  }

  void new_line() {
    if (indent_ == 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent_ * depth_), ' ');
  }

  int indent_;
  int depth_ = 0;
};

}  // namespace

std::string to_json(const Value& value, int indent) {
  Writer writer(indent);
  writer.write(value);
  return std::move(writer.out);
}

}  // namespace heddle::io
