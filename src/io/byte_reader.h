// Reads the little-endian fields of a binary file one after another. Every read is checked against
// what is left, and every error names the format, the file, the field and its offset.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "heddle/base/error.h"
#include "heddle/io/source.h"
#include "heddle/tensor/tensor.h"

namespace heddle::io {

class ByteReader {
 public:
  /// Reads [begin, end) of the source, which must outlive the reader.
  ByteReader(const Source& source, std::string_view format, uint64_t begin, uint64_t end);
  ByteReader(const Source& source, std::string_view format)
      : ByteReader(source, format, 0, source.size()) {}

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return end_ - offset_; }

  /// A number of type T (uint8_t … uint64_t, int32_t, float).
  template <typename T>
  T number(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field), sizeof(T));
    return value;
  }

  /// The next `bytes` bytes.
  std::string text(uint64_t bytes, std::string_view field);

  void skip(uint64_t bytes, std::string_view field);

  /// Throws "format: file: field: found …; expected … (offset …)", the offset that of the field
  /// read last unless one is given.
  [[noreturn]] void fail(std::string_view field, std::string_view found,
                         std::string_view expected) const;

 private:
  const std::byte* take(size_t bytes, std::string_view field);
  void require(uint64_t bytes, std::string_view field);

  const Source& source_;
  std::string_view format_;
  uint64_t offset_;
  uint64_t end_;
  uint64_t last_;  // offset of the field read last
  uint64_t window_begin_ = 0;
  uint64_t window_end_ = 0;
  std::array<std::byte, 16384> window_;  // the file around offset_
};

/// Throws "format: file: field: found …; expected … (offset …)".
[[noreturn]] void fail_at(std::string_view format, const Source& source, std::string_view field,
                          std::string_view found, std::string_view expected, uint64_t offset);

/// Bytes of a tensor of these lengths, or nothing when they do not fit 63 bits; a length of 0 does
/// not excuse the others.
std::optional<uint64_t> checked_bytes(const Shape& shape, DType dtype);

/// A shape from lengths of a file; at most Shape::kMaxRank of them.
Shape shape_of(std::span<const int64_t> lengths);

/// A tensor read from [offset, offset + its bytes) of the source.
Tensor read_tensor(const Source& source, const Shape& shape, DType dtype, uint64_t offset);

}  // namespace heddle::io
