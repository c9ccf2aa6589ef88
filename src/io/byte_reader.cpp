#include "heddle/io/byte_reader.h"

#include <algorithm>
#include <bit>

namespace heddle::io {

static_assert(std::endian::native == std::endian::little, "fields are copied as they lie");

ByteReader::ByteReader(const Source& source, std::string_view format, uint64_t begin, uint64_t end)
    : source_(source), format_(format), offset_(begin), end_(end), last_(begin) {
  HEDDLE_CHECK(begin <= end && end <= source.size(), format, ": ", source.name(), ": found ",
               source.size(), " bytes; expected a part [", begin, ", ", end, ")");
}

void ByteReader::fail(std::string_view field, std::string_view found,
                      std::string_view expected) const {
  fail_at(format_, source_, field, found, expected, last_);
}

void fail_at(std::string_view format, const Source& source, std::string_view field,
             std::string_view found, std::string_view expected, uint64_t offset) {
  detail::throw_error(str(format, ": ", source.name(), ": ", field, ": found ", found,
                          "; expected ", expected, " (offset ", offset, ")"));
}

void ByteReader::require(uint64_t bytes, std::string_view field) {
  last_ = offset_;
  if (bytes > remaining()) {
    fail(field, str(remaining(), " bytes left in the file"), str("at least ", bytes));
  }
}

const std::byte* ByteReader::take(size_t bytes, std::string_view field) {
  require(bytes, field);
  if (offset_ < window_begin_ || offset_ + bytes > window_end_) {
    window_begin_ = offset_;
    window_end_ = offset_ + std::min<uint64_t>(window_.size(), remaining());
    source_.read(window_.data(), static_cast<size_t>(window_end_ - window_begin_), offset_);
  }
  const std::byte* at = window_.data() + (offset_ - window_begin_);
  offset_ += bytes;
  return at;
}

std::string ByteReader::text(uint64_t bytes, std::string_view field) {
  require(bytes, field);
  if (bytes <= window_.size()) {
    const auto length = static_cast<size_t>(bytes);
    return {reinterpret_cast<const char*>(take(length, field)), length};
  }
  std::string content(static_cast<size_t>(bytes), '\0');
  source_.read(content.data(), content.size(), offset_);
  offset_ += bytes;
  return content;
}

void ByteReader::skip(uint64_t bytes, std::string_view field) {
  require(bytes, field);
  offset_ += bytes;
}

std::optional<uint64_t> checked_bytes(const Shape& shape, DType dtype) {
  auto bytes = static_cast<int64_t>(size_of(dtype));
  bool empty = false;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] < 0) return std::nullopt;
    empty = empty || shape[axis] == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(shape[axis], 1), &bytes)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : static_cast<uint64_t>(bytes);
}

Shape shape_of(std::span<const int64_t> lengths) {
  static_assert(Shape::kMaxRank == 6);
  HEDDLE_CHECK(lengths.size() <= 6, "io: found a shape of rank ", lengths.size(),
               "; expected at most 6");
  Shape shapes[] = {{}, {0}, {0, 0}, {0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0}};
  Shape& shape = shapes[lengths.size()];
  for (size_t axis = 0; axis < lengths.size(); ++axis) {
    shape[static_cast<int>(axis)] = lengths[axis];
  }
  return shape;
}

Tensor read_tensor(const Source& source, const Shape& shape, DType dtype, uint64_t offset) {
  const std::optional<uint64_t> bytes = checked_bytes(shape, dtype);
  // Before anything is allocated: a file cannot ask for more memory than it has bytes.
  HEDDLE_CHECK(bytes && offset <= source.size() && *bytes <= source.size() - offset,
               "io: ", source.name(), ": found ", source.size(), " bytes; expected ",
               name_of(dtype), " ", shape.text(), " at offset ", offset);
  Tensor tensor = Tensor::empty(shape, dtype);
  source.read(tensor.raw(), static_cast<size_t>(*bytes), offset);
  return tensor;
}

}  // namespace heddle::io
