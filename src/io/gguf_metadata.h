// The metadata of GGUF files: keys with typed values.
//
// An array stays in the file until it is asked for: listing a vocabulary takes no memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "heddle/io/byte_reader.h"

namespace heddle::io {

/// In the order of the format's ids.
enum class GgufType : uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64
};

/// What the format calls it: "uint8", "bool", …
std::string_view name_of(GgufType type);

/// The type of the elements of an array<T>().
template <typename T>
inline constexpr GgufType gguf_type_of = GgufType::array;
template <>
inline constexpr GgufType gguf_type_of<uint8_t> = GgufType::uint8;
template <>
inline constexpr GgufType gguf_type_of<int8_t> = GgufType::int8;
template <>
inline constexpr GgufType gguf_type_of<uint16_t> = GgufType::uint16;
template <>
inline constexpr GgufType gguf_type_of<int16_t> = GgufType::int16;
template <>
inline constexpr GgufType gguf_type_of<uint32_t> = GgufType::uint32;
template <>
inline constexpr GgufType gguf_type_of<int32_t> = GgufType::int32;
template <>
inline constexpr GgufType gguf_type_of<uint64_t> = GgufType::uint64;
template <>
inline constexpr GgufType gguf_type_of<int64_t> = GgufType::int64;
template <>
inline constexpr GgufType gguf_type_of<float> = GgufType::float32;
template <>
inline constexpr GgufType gguf_type_of<double> = GgufType::float64;

/// Where an array lies in the file.
struct GgufArray {
  GgufType type = GgufType::uint8;  ///< of the elements; never array
  uint64_t count = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

/// Unsigned integers, signed ones, floats, …
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string, GgufArray>;

struct GgufPair {
  std::string key;
  GgufType type = GgufType::uint8;
  uint64_t offset = 0;  ///< of the value's type in the file
  GgufValue value;

  /// "the uint32 7", "the string 'x'", "an array of 5 string": for errors and tables.
  std::string description() const;
};

/// The texts of an array, in one piece: no more memory than they take in the file.
class GgufTexts {
 public:
  GgufTexts(const Source& source, const GgufArray& array, std::string_view key);

  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(characters_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string characters_;
  std::vector<size_t> ends_;
};

/// The next text, of 1 … `longest` bytes that are printable ASCII: a key or the name of a tensor.
std::string read_gguf_name(ByteReader& reader, std::string_view field, uint64_t longest);

/// The next `count` pairs of a file, every length and every element of theirs checked.
std::vector<GgufPair> read_gguf_pairs(ByteReader& reader, uint64_t count);

}  // namespace heddle::io
