// Reads Marian's binary model files, version 1 (float32, float16, int8 and intgemm8 tensors).
//
//   u64 version = 1; u64 n; n × {u64 name length (with NUL), type, rank, data length}
//   n names; n shapes (i32 each); u64 padding; padding; n blobs
//
// An intgemm8 blob is the int8 elements, then one f32 multiplier q (weight = element / q). Its
// elements are the transpose of what the shape says, except those of embeddings; that is for the
// reader of names to know (model/formats), not for this one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "heddle/io/source.h"
#include "heddle/io/tensor_entry.h"

namespace heddle::io {

struct MarianTensor : TensorEntry {
  bool is_intgemm8 = false;
  float multiplier = 0;  ///< of an intgemm8 tensor: weight = element / multiplier; finite, not 0
};

/// Name of the tensor that holds the model's options as YAML text.
inline constexpr std::string_view kMarianOptions = "special:model.yml";

class MarianBinary {
 public:
  /// Whether the file starts as one: version 1 and a plausible count.
  static bool recognises(const Source& source);

  /// Reads the header and checks it against the size of the file.
  explicit MarianBinary(Source source);

  const Source& source() const { return source_; }
  const std::vector<MarianTensor>& tensors() const { return tensors_; }

  Tensor read(const MarianTensor& tensor) const;

 private:
  Source source_;
  std::vector<MarianTensor> tensors_;
};

/// One tensor to write: f32, or i8 (text).
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Writes a version 1 file of float32 and int8 tensors.
void write_marian_binary(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace heddle::io
