#include "heddle/io/gguf_metadata.h"

#include <algorithm>
#include <array>
#include <utility>

#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

constexpr uint64_t kLongestKey = 65'535;               // of the format
constexpr uint64_t kMostElements = uint64_t{1} << 24;  // of an array: more than any vocabulary has

struct TypeFacts {
  std::string_view name;
  uint64_t bytes;  // of an element; of a string its length alone
};

// In the order of GgufType.
constexpr std::array<TypeFacts, 13> kTypes{{{"uint8", 1},
                                            {"int8", 1},
                                            {"uint16", 2},
                                            {"int16", 2},
                                            {"uint32", 4},
                                            {"int32", 4},
                                            {"float32", 4},
                                            {"bool", 1},
                                            {"string", 8},
                                            {"array", 12},
                                            {"uint64", 8},
                                            {"int64", 8},
                                            {"float64", 8}}};

GgufType read_type(ByteReader& reader, std::string_view field) {
  const auto id = reader.number<uint32_t>(field);
  if (id >= kTypes.size()) {
    reader.fail(field, str("the type ", id), str("0 … ", kTypes.size() - 1));
  }
  return static_cast<GgufType>(id);
}

std::string read_string(ByteReader& reader, std::string_view field) {
  return reader.text(reader.number<uint64_t>(field), field);
}

bool read_bool(ByteReader& reader, std::string_view field) {
  const auto byte = reader.number<uint8_t>(field);
  if (byte > 1) reader.fail(field, str("the bool ", int{byte}), "0 or 1");
  return byte == 1;
}

GgufArray read_array(ByteReader& reader, std::string_view field) {
  GgufArray array;
  array.type = read_type(reader, field);
  if (array.type == GgufType::array) {
    reader.fail(field, "an array of arrays", "an array of numbers, bools or strings");
  }
  array.count = reader.number<uint64_t>(field);
  const uint64_t bytes = kTypes[static_cast<size_t>(array.type)].bytes;
  const uint64_t most = std::min(kMostElements, reader.remaining() / bytes);
  if (array.count > most) {
    reader.fail(field, str(array.count, " elements"),
                str("at most ", most, " ", name_of(array.type), ", as ", reader.remaining(),
                    " bytes follow"));
  }
  array.offset = reader.offset();
  if (array.type == GgufType::string) {
    for (uint64_t i = 0; i < array.count; ++i) {
      reader.skip(reader.number<uint64_t>(field), field);
    }
  } else if (array.type == GgufType::boolean) {
    for (uint64_t i = 0; i < array.count; ++i) read_bool(reader, field);
  } else {
    reader.skip(array.count * bytes, field);
  }
  array.bytes = reader.offset() - array.offset;
  return array;
}

GgufValue read_value(ByteReader& reader, GgufType type, std::string_view field) {
  switch (type) {
    case GgufType::uint8:
      return uint64_t{reader.number<uint8_t>(field)};
    case GgufType::int8:
      return int64_t{reader.number<int8_t>(field)};
    case GgufType::uint16:
      return uint64_t{reader.number<uint16_t>(field)};
    case GgufType::int16:
      return int64_t{reader.number<int16_t>(field)};
    case GgufType::uint32:
      return uint64_t{reader.number<uint32_t>(field)};
    case GgufType::int32:
      return int64_t{reader.number<int32_t>(field)};
    case GgufType::float32:
      return double{reader.number<float>(field)};
    case GgufType::boolean:
      return read_bool(reader, field);
    case GgufType::string:
      return read_string(reader, field);
    case GgufType::array:
      return read_array(reader, field);
    case GgufType::uint64:
      return reader.number<uint64_t>(field);
    case GgufType::int64:
      return reader.number<int64_t>(field);
    case GgufType::float64:
      return reader.number<double>(field);
  }
  reader.fail(field, str("the type ", static_cast<uint32_t>(type)), "0 … 12");
}

/// A value in words.
struct Words {
  GgufType type;

  std::string operator()(const GgufArray& array) const {
    return str("an array of ", array.count, " ", name_of(array.type));
  }
  std::string operator()(const std::string& text) const { return str("the string ", quoted(text)); }
  std::string operator()(auto number) const { return str("the ", name_of(type), " ", number); }
};

}  // namespace

std::string_view name_of(GgufType type) { return kTypes[static_cast<size_t>(type)].name; }

std::string GgufPair::description() const { return std::visit(Words{type}, value); }

GgufTexts::GgufTexts(const Source& source, const GgufArray& array, std::string_view key) {
  ByteReader reader(source, "gguf", array.offset, array.offset + array.bytes);
  const std::string field = quoted(key);
  const uint64_t lengths = array.count * sizeof(uint64_t);
  HEDDLE_CHECK(array.type == GgufType::string && lengths <= array.bytes, "gguf: ", source.name(),
               ": ", field, ": found an array of ", name_of(array.type), "; expected strings");
  ends_.reserve(static_cast<size_t>(array.count));
  characters_.reserve(static_cast<size_t>(array.bytes - lengths));
  for (uint64_t i = 0; i < array.count; ++i) {
    characters_ += read_string(reader, field);
    ends_.push_back(characters_.size());
  }
}

std::string read_gguf_name(ByteReader& reader, std::string_view field, uint64_t longest) {
  const auto length = reader.number<uint64_t>(str(field, " length"));
  const uint64_t most = std::min(longest, reader.remaining());
  if (length < 1 || length > most) {
    reader.fail(str(field, " length"), str(length), str("1 … ", most));
  }
  std::string name = reader.text(length, field);
  if (!std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; })) {
    reader.fail(field, quoted(name), "printable ASCII");
  }
  return name;
}

std::vector<GgufPair> read_gguf_pairs(ByteReader& reader, uint64_t count) {
  std::vector<GgufPair> pairs;
  pairs.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    GgufPair pair;
    pair.key = read_gguf_name(reader, "key", kLongestKey);
    const std::string field = quoted(pair.key);
    pair.offset = reader.offset();
    pair.type = read_type(reader, field);
    pair.value = read_value(reader, pair.type, field);
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

}  // namespace heddle::io
