// Reads and writes NumPy's .npz archives: zip files of stored .npy members.
//
// Read: members that are stored (numpy.savez), zip64, data descriptors, an archive comment.
// Refused: compressed or encrypted members, names that are absolute, hold ".." or appear twice,
// members that overlap, local headers that disagree with the central directory, wrong checksums.
#pragma once

#include <string>
#include <vector>

#include "heddle/io/marian_binary.h"
#include "heddle/io/npy.h"
#include "heddle/io/source.h"
#include "heddle/io/tensor_entry.h"

namespace heddle::io {

struct NpzMember : TensorEntry {  ///< the name is without ".npy"
  NpyLayout layout;
  uint64_t begin = 0;  ///< of the member's bytes: the .npy file
  uint64_t size = 0;
  uint32_t checksum = 0;  ///< CRC-32 of those bytes
};

class NpzFile {
 public:
  /// Whether the file starts as a zip archive.
  static bool recognises(const Source& source);

  /// Reads the directory and the header of every member.
  explicit NpzFile(Source source);

  const Source& source() const { return source_; }
  const std::vector<NpzMember>& members() const { return members_; }

  /// The array of a member, its checksum compared.
  Tensor read(const NpzMember& member) const;

 private:
  Source source_;
  std::vector<NpzMember> members_;
};

/// Writes the tensors (f64, f32, f16, i64, i32, i8, u8) as numpy.savez does, stored.
void write_npz(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace heddle::io
