#include "heddle/io/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/byte_reader.h"
#include "heddle/io/json.h"
#include "heddle/io/quoted.h"
#include "heddle/io/value.h"

namespace heddle::io {

namespace {

constexpr std::string_view kMetadata = "__metadata__";

struct ElementType {
  std::string_view name;
  std::optional<DType> dtype;
};

constexpr std::array<ElementType, 20> kTypes{{
    {"F64", DType::f64}, {"F32", DType::f32}, {"F16", DType::f16}, {"BF16", DType::bf16},
    {"I64", DType::i64}, {"I32", DType::i32}, {"I8", DType::i8},   {"U8", DType::u8},
    {"BOOL", {}},        {"I16", {}},         {"U16", {}},         {"U32", {}},
    {"U64", {}},         {"F8_E4M3", {}},     {"F8_E5M2", {}},     {"F8_E8M0", {}},
    {"F6_E2M3", {}},     {"F6_E3M2", {}},     {"F4", {}},          {"C64", {}},
}};

const ElementType& element_type(const Field& field) {
  const std::string& name = field.text();
  for (const ElementType& type : kTypes) {
    if (type.name != name) continue;
    if (!type.dtype)
      field.fail(
          "a supported dtype (this one is valid but unsupported): F64, F32, "
          "F16, BF16, I64, I32, I8 or U8");
    return type;
  }
  field.fail("F64, F32, F16, BF16, I64, I32, I8 or U8");
}

/// Header length, checked before anything of that size is read.
uint64_t header_length(const Source& source) {
  ByteReader reader(source, "safetensors");
  const auto length = reader.number<uint64_t>("header length");
  const uint64_t most = std::min(kLongestSafetensorsHeader, reader.remaining());
  if (length < 2 || length > most) {
    reader.fail("header length", str(length),
                str("2 … ", most, ", as ", reader.remaining(), " bytes follow"));
  }
  return length;
}

/// Parses the entries of one header.
class HeaderParser {
 public:
  HeaderParser(const Source& source, uint64_t data_begin)
      : place_(str("safetensors: ", source.name(), ": header")),
        data_begin_(data_begin),
        data_bytes_(source.size() - data_begin) {}

  void take(std::string name, const Value& value) {
    if (name == kMetadata) {
      HEDDLE_CHECK(!std::exchange(has_metadata_, true), place_, ": found ", kMetadata,
                   " twice; expected it once");
      const Field field(value, str(place_, ": ", name));
      for (const Value::Member& member : field.members()) {
        metadata.emplace(member.key, field[member.key].text());
      }
      return;
    }
    HEDDLE_CHECK(tensors.size() < kMostTensors, place_, ": found more than ", kMostTensors,
                 " tensors; expected at most that");
    tensors.push_back(entry(std::move(name), value));
  }

  /// After the last entry: no name twice, and the data covered exactly.
  void finish() {
    std::sort(tensors.begin(), tensors.end(),
              [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
    for (size_t i = 1; i < tensors.size(); ++i) {
      HEDDLE_CHECK(tensors[i - 1].name != tensors[i].name, place_, ": found the tensor ",
                   quoted(tensors[i].name), " twice; expected it once");
    }
    std::stable_sort(tensors.begin(), tensors.end(),
                     [](const TensorEntry& a, const TensorEntry& b) {
                       return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
                     });
    uint64_t at = data_begin_;
    for (const TensorEntry& tensor : tensors) {
      HEDDLE_CHECK(tensor.offset == at, place_, ": ", quoted(tensor.name),
                   ": data_offsets: found a begin of ", tensor.offset - data_begin_, "; expected ",
                   at - data_begin_, ", where the tensor before ends (offset ", tensor.offset, ")");
      at += tensor.bytes;
    }
    HEDDLE_CHECK(at == data_begin_ + data_bytes_, place_, ": data: found ", data_bytes_,
                 " bytes in the file; expected ", at - data_begin_, " by the last tensor (offset ",
                 at, ")");
  }

  std::vector<TensorEntry> tensors;
  Metadata metadata;

 private:
  TensorEntry entry(std::string name, const Value& value) const {
    check_name(name);
    const Field field(value, str(place_, ": ", quoted(name)));
    for (const Value::Member& member : field.members()) {
      if (member.key != "dtype" && member.key != "shape" && member.key != "data_offsets") {
        field[member.key].fail("no field of this name");
      }
    }
    TensorEntry tensor;
    tensor.name = std::move(name);
    const ElementType& type = element_type(field["dtype"]);
    tensor.type = type.name;
    tensor.dtype = *type.dtype;
    tensor.shape = shape(field["shape"]);
    const std::optional<uint64_t> bytes = checked_bytes(tensor.shape, tensor.dtype);
    if (!bytes) field["shape"].fail("fewer than 2^63 bytes in all");
    const auto [begin, end] = offsets(field["data_offsets"]);
    HEDDLE_CHECK(end - begin == *bytes, field.place(), ": data_offsets: found ", end - begin,
                 " bytes; expected ", *bytes, " for ", tensor.type, " ", tensor.shape.text(),
                 " (offset ", data_begin_ + begin, ")");
    tensor.offset = data_begin_ + begin;
    tensor.bytes = *bytes;
    return tensor;
  }

  void check_name(std::string_view name) const {
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte >= 0x20 && byte != 0x7f;
    });
    HEDDLE_CHECK(plain && !name.empty() && name.size() <= kLongestName, place_,
                 ": found the tensor name ", quoted(name), " of ", name.size(),
                 " bytes; expected 1 … ", kLongestName, " without control characters");
  }

  static Shape shape(const Field& field) {
    int64_t lengths[Shape::kMaxRank] = {};
    const Value::List* list = field.value().list();
    if (list == nullptr || list->size() > static_cast<size_t>(Shape::kMaxRank)) {
      field.fail(str("a list of at most ", Shape::kMaxRank, " lengths"));
    }
    size_t axis = 0;
    for (const Field& item : field.items()) lengths[axis++] = item.integer(0, INT64_MAX);
    return shape_of({lengths, axis});
  }

  std::pair<uint64_t, uint64_t> offsets(const Field& field) const {
    const Value::List* list = field.value().list();
    if (list == nullptr || list->size() != 2) field.fail("a list of two offsets");
    const std::vector<Field> items = field.items();
    const auto most = static_cast<int64_t>(data_bytes_);
    const int64_t end = items[1].integer(0, most);
    return {static_cast<uint64_t>(items[0].integer(0, end)), static_cast<uint64_t>(end)};
  }

  std::string place_;
  uint64_t data_begin_;
  uint64_t data_bytes_;
  bool has_metadata_ = false;
};

}  // namespace

SafetensorsFile::SafetensorsFile(Source source) : source_(std::move(source)) {
  const uint64_t length = header_length(source_);
  std::string header(static_cast<size_t>(length), '\0');
  source_.read(header.data(), header.size(), 8);
  HeaderParser parser(source_, 8 + length);
  parse_json_members(
      header, str(source_.name(), ": header"),
      [&](std::string key, const Value& value) { parser.take(std::move(key), value); });
  parser.finish();
  tensors_ = std::move(parser.tensors);
  metadata_ = std::move(parser.metadata);
}

Tensor SafetensorsFile::read(const TensorEntry& tensor) const {
  return read_tensor(source_, tensor.shape, tensor.dtype, tensor.offset);
}

}  // namespace heddle::io
