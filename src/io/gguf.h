// Reads GGUF files of version 2 and 3, little-endian, and models that are cut into several.
//
//   "GGUF"; u32 version; u64 tensor count; u64 metadata count
//   metadata: string key; u32 type; value              string: u64 length; bytes
//   tensor:   string name; u32 rank; u64 lengths[rank], innermost first; u32 type; u64 offset
//   data:     from the next multiple of general.alignment (32) on, each tensor too
//
// The tensors follow each other without holes or overlaps, in the order of their entries. Elements
// are read as floats, from the types that gguf_blocks.h lists; others are refused by name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/io/gguf_blocks.h"
#include "heddle/io/gguf_metadata.h"
#include "heddle/io/source.h"
#include "heddle/io/tensor_entry.h"

namespace heddle::io {

/// Most tensors, and most keys, of one file: few enough to hold beside it.
inline constexpr uint64_t kMostGgufEntries = 262'144;

struct GgufTensor : TensorEntry {  ///< `dtype` is that of the elements once read
  const GgmlType* stored = nullptr;
  uint64_t header_offset = 0;  ///< of the entry
};

class GgufFile {
 public:
  /// Whether the file starts as one.
  static bool recognises(const Source& source);

  /// Reads metadata and entries and checks them against the size of the file.
  explicit GgufFile(Source source);

  const Source& source() const { return source_; }
  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }

  /// In the order of the file.
  const std::vector<GgufPair>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  const GgufPair* find_key(std::string_view key) const;        ///< or nullptr
  const GgufTensor* find_tensor(std::string_view name) const;  ///< or nullptr

  /// The value of a key; throws when it is absent, of another type or out of range.
  int64_t integer(std::string_view key, int64_t low, int64_t high) const;
  double number(std::string_view key) const;  ///< float32 or float64
  bool boolean(std::string_view key) const;
  const std::string& text(std::string_view key) const;
  GgufTexts texts(std::string_view key) const;

  /// The elements of an array of exactly this type.
  template <typename T>
  std::vector<T> array(std::string_view key) const {
    const GgufArray& found = array_of(key, gguf_type_of<T>);
    std::vector<T> elements(static_cast<size_t>(found.count));
    source_.read(elements.data(), elements.size() * sizeof(T), found.offset);
    return elements;
  }

  /// Throws "gguf: file: key: found …; expected … (offset …)".
  [[noreturn]] void fail(const GgufPair& pair, std::string_view expected) const;

  /// All elements, as f32; throws at a quantised block whose scale is NaN or infinite.
  Tensor read(const GgufTensor& tensor) const;

  /// Rows [begin, end) of a tensor whose outer axes count as one, as f32: [end - begin, innermost].
  Tensor read_rows(const GgufTensor& tensor, int64_t begin, int64_t end) const;

 private:
  void read_entries(ByteReader& reader, uint64_t count);
  void place_data(uint64_t header_end);
  const GgufPair& pair_of(std::string_view key) const;
  const GgufArray& array_of(std::string_view key, GgufType type) const;
  void read_blocks(const GgufTensor& tensor, uint64_t begin, uint64_t end, float* values) const;

  Source source_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::vector<GgufPair> metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<uint32_t> keys_sorted_;   // indices into metadata_
  std::vector<uint32_t> names_sorted_;  // indices into tensors_
};

/// One file, or all parts of a model that llama.cpp has split: name-00001-of-00004.gguf, …
class GgufModel {
 public:
  /// Any of the parts; throws unless all are there and agree.
  explicit GgufModel(const std::string& path);

  /// The first one has the metadata.
  const std::vector<GgufFile>& files() const { return files_; }

 private:
  std::vector<GgufFile> files_;
};

}  // namespace heddle::io
