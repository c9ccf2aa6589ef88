#include "heddle/io/marian_binary.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/byte_reader.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

constexpr std::string_view kFormat = "marian";
constexpr uint64_t kAlignment = 256;

struct ElementType {
  uint64_t id;
  std::string_view name;
  DType dtype;
  bool is_read;
};

// Marian's type ids: class bits above, bytes of an element below.
constexpr ElementType kTypes[] = {
    {0x0101, "int8", DType::i8, true},           {0x0404, "float32", DType::f32, true},
    {0x0402, "float16", DType::f16, true},       {0x4101, "intgemm8", DType::i8, true},
    {0x0102, "int16", DType::u8, false},         {0x0104, "int32", DType::u8, false},
    {0x0108, "int64", DType::u8, false},         {0x0408, "float64", DType::u8, false},
    {0x0802, "packed16", DType::u8, false},      {0x1801, "packed8avx2", DType::u8, false},
    {0x2801, "packed8avx512", DType::u8, false}, {0x4102, "intgemm16", DType::u8, false},
};

struct Header {
  uint64_t name_length;
  uint64_t type;
  uint64_t rank;
  uint64_t data_length;
};

const ElementType& element_type(const ByteReader& reader, uint64_t id, std::string_view field) {
  for (const ElementType& type : kTypes) {
    if (type.id != id) continue;
    if (!type.is_read) {
      reader.fail(field, str("type ", type.name),
                  "float32, float16, int8 or intgemm8. Hint: convert the .npz it was made from");
    }
    return type;
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string digits = "0x";
  for (int shift = 60; shift >= 0; shift -= 4) digits += kHex[id >> shift & 15];
  reader.fail(field, str("type ", digits), "float32, float16, int8 or intgemm8");
}

std::vector<Header> read_headers(ByteReader& reader) {
  const auto version = reader.number<uint64_t>("version");
  if (version != 1) reader.fail("version", str(version), "1");
  const auto count = reader.number<uint64_t>("tensor count");
  const uint64_t most = std::min(kMostTensors, reader.remaining() / sizeof(Header));
  if (count > most) reader.fail("tensor count", str(count), str("at most ", most));
  std::vector<Header> headers(static_cast<size_t>(count));
  for (Header& header : headers) {
    header.name_length = reader.number<uint64_t>("name length");
    if (header.name_length < 2 || header.name_length > kLongestName) {
      reader.fail("name length", str(header.name_length), str("2 … ", kLongestName));
    }
    header.type = reader.number<uint64_t>("type");
    header.rank = reader.number<uint64_t>("rank");
    if (header.rank > static_cast<uint64_t>(Shape::kMaxRank)) {
      reader.fail("rank", str(header.rank), str("at most ", Shape::kMaxRank));
    }
    header.data_length = reader.number<uint64_t>("data length");
  }
  return headers;
}

std::string read_name(ByteReader& reader, const Header& header) {
  std::string name = reader.text(header.name_length, "name");
  if (name.back() != '\0') reader.fail("name", quoted(name), "a text that ends in NUL");
  name.pop_back();
  if (name.find('\0') != name.npos) reader.fail("name", quoted(name), "a text without NUL");
  return name;
}

Shape read_shape(ByteReader& reader, const Header& header, std::string_view name) {
  int64_t lengths[Shape::kMaxRank] = {};
  const std::string field = str("shape of ", quoted(name));
  for (uint64_t axis = 0; axis < header.rank; ++axis) {
    lengths[axis] = reader.number<int32_t>(field);
    if (lengths[axis] < 0) reader.fail(field, str(lengths[axis]), "a length of at least 0");
  }
  return shape_of({lengths, static_cast<size_t>(header.rank)});
}

/// Checks the data's length against shape and type, and reads the multiplier behind it.
void read_data(ByteReader& reader, const Header& header, MarianTensor& tensor) {
  const std::string field = str("data of ", quoted(tensor.name));
  const std::optional<uint64_t> bytes = checked_bytes(tensor.shape, tensor.dtype);
  if (!bytes) reader.fail(field, tensor.shape.text(), "fewer than 2^63 bytes in all");
  const uint64_t needed = *bytes + (tensor.is_intgemm8 ? sizeof(float) : 0);
  const uint64_t padded = (needed + kAlignment - 1) / kAlignment * kAlignment;
  const uint64_t begin = reader.offset();
  tensor.offset = begin;
  tensor.bytes = *bytes;
  if (header.data_length < needed || header.data_length > padded) {
    reader.skip(0, field);
    reader.fail(field, str("length ", header.data_length),
                str(needed, " … ", padded, " bytes for ", tensor.type, " ", tensor.shape.text()));
  }
  if (tensor.is_intgemm8) {
    reader.skip(*bytes, field);
    const std::string multiplier = str("multiplier of ", quoted(tensor.name));
    tensor.multiplier = reader.number<float>(multiplier);
    if (!std::isfinite(tensor.multiplier) || tensor.multiplier <= 0) {
      reader.fail(multiplier, str(tensor.multiplier), "a finite number above 0");
    }
    reader.skip(header.data_length - needed, field);
  } else {
    reader.skip(header.data_length, field);
  }
}

}  // namespace

bool MarianBinary::recognises(const Source& source) {
  if (source.size() < 16) return false;
  uint64_t start[2];
  source.read(start, sizeof start, 0);
  return start[0] == 1 && start[1] <= kMostTensors;
}

MarianBinary::MarianBinary(Source source) : source_(std::move(source)) {
  ByteReader reader(source_, kFormat);
  const std::vector<Header> headers = read_headers(reader);
  tensors_.resize(headers.size());
  std::unordered_set<std::string_view> names;
  for (size_t i = 0; i < headers.size(); ++i) {
    tensors_[i].name = read_name(reader, headers[i]);
    const std::string field = quoted(tensors_[i].name);
    if (!names.insert(tensors_[i].name).second) {
      reader.fail("name", str(field, " twice"), "it once");
    }
    const ElementType& type = element_type(reader, headers[i].type, field);
    tensors_[i].type = type.name;
    tensors_[i].dtype = type.dtype;
    tensors_[i].is_intgemm8 = type.id == 0x4101;
  }
  for (size_t i = 0; i < headers.size(); ++i) {
    tensors_[i].shape = read_shape(reader, headers[i], tensors_[i].name);
  }
  const auto padding = reader.number<uint64_t>("padding");
  if (padding > reader.remaining() || (reader.offset() + padding) % kAlignment != 0) {
    reader.fail("padding", str(padding),
                str("a data offset that is a multiple of ", kAlignment, " inside the file"));
  }
  reader.skip(padding, "padding");
  for (size_t i = 0; i < headers.size(); ++i) read_data(reader, headers[i], tensors_[i]);
  if (reader.remaining() > 0) {
    reader.skip(0, "end");
    reader.fail("end", str(reader.remaining(), " bytes after the last tensor"), "none");
  }
}

Tensor MarianBinary::read(const MarianTensor& tensor) const {
  return read_tensor(source_, tensor.shape, tensor.dtype, tensor.offset);
}

}  // namespace heddle::io
