#include "cli/gguf_words.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "cli/format.h"
#include "heddle/base/error.h"
#include "heddle/io/quoted.h"

namespace heddle::cli {

namespace {

using io::GgufArray;
using io::GgufPair;

struct Words {
  std::string operator()(const GgufArray& array) const {
    return str(with_separators(static_cast<int64_t>(array.count)), " × ", io::name_of(array.type));
  }
  std::string operator()(const std::string& text) const { return io::quoted(text); }
  std::string operator()(auto number) const { return str(number); }
};

struct Json {
  std::string operator()(const GgufArray& array) const {
    return str("{\"array\": ", json_string(io::name_of(array.type)), ", \"count\": ", array.count,
               "}");
  }
  std::string operator()(const std::string& text) const { return json_string(text); }
  std::string operator()(double number) const {
    return std::isfinite(number) ? json_number(number) : "null";
  }
  std::string operator()(auto number) const { return str(number); }
};

/// A float32 in as few digits as tell it from others, which are fewer than those of a double.
std::string words_of(const GgufPair& pair) {
  if (pair.type != io::GgufType::float32) return std::visit(Words{}, pair.value);
  char digits[32];
  const auto number = static_cast<float>(std::get<double>(pair.value));
  return {digits, std::to_chars(digits, digits + sizeof digits, number).ptr};
}

}  // namespace

std::string gguf_words(const io::GgufModel& model) {
  const io::GgufFile& file = model.files().front();
  std::string text = str("GGUF version ", file.version());
  const GgufPair* architecture = file.find_key("general.architecture");
  if (architecture != nullptr) text += ", " + words_of(*architecture);
  if (model.files().size() > 1) text += str(", ", model.files().size(), " parts");
  std::map<std::string_view, int64_t> types;
  for (const io::GgufFile& part : model.files()) {
    for (const io::GgufTensor& tensor : part.tensors()) ++types[tensor.type];
  }
  const char* separator = "\ntensors: ";
  for (const auto& [type, count] : types) {
    text += str(separator, count, " ", type);
    separator = ", ";
  }
  text += "\n\n";
  size_t key = 0;  // longest
  for (const GgufPair& pair : file.metadata()) key = std::max(key, pair.key.size());
  for (const GgufPair& pair : file.metadata()) {
    text += str(left_aligned(pair.key, std::min<size_t>(key, 48)), "  ",
                left_aligned(io::name_of(pair.type), 7), "  ", words_of(pair), "\n");
  }
  return text;
}

std::string gguf_json(const io::GgufModel& model) {
  std::string text = "{";
  for (const GgufPair& pair : model.files().front().metadata()) {
    text += str(text.size() > 1 ? ",\n  " : "\n  ", json_string(pair.key), ": ",
                std::visit(Json{}, pair.value));
  }
  return text + "\n }";
}

}  // namespace heddle::cli
