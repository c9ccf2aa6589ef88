// Reads and writes safetensors files, and the index of those that are cut into shards.
//
//   u64 header length; JSON header; data
//   header: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …,
//            "__metadata__": {"key": "text"}}
//
// The tensors must cover the data exactly, without holes, overlaps or bytes left over. Read are
// F64, F32, F16, BF16, I64, I32, I8 and U8 of up to 6 axes; other types are refused by name.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/io/file_operations.h"
#include "heddle/io/source.h"
#include "heddle/io/tensor_entry.h"

namespace heddle::io {

/// Longest header that is read, bytes: what the format's own library accepts.
inline constexpr uint64_t kLongestSafetensorsHeader = 100'000'000;

using Metadata = std::map<std::string, std::string, std::less<>>;

class SafetensorsFile {
 public:
  /// Reads the header and checks it against the size of the file.
  explicit SafetensorsFile(Source source);

  const Source& source() const { return source_; }
  const std::vector<TensorEntry>& tensors() const { return tensors_; }  ///< by offset
  const Metadata& metadata() const { return metadata_; }

  Tensor read(const TensorEntry& tensor) const;

 private:
  Source source_;
  std::vector<TensorEntry> tensors_;
  Metadata metadata_;
};

/// One file, or the shards that an index lists.
class SafetensorsModel {
 public:
  /// A .safetensors file or a .safetensors.index.json.
  explicit SafetensorsModel(const std::string& path);

  const std::vector<SafetensorsFile>& files() const { return files_; }

 private:
  std::vector<SafetensorsFile> files_;
};

/// Writes the tensors (contiguous, any order) as one file, atomically.
void write_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                       const Metadata& metadata = {}, FileOperations& files = system_files());

}  // namespace heddle::io
