// Reads and writes CTranslate2's model.bin, version 6.
//
//   u32 version = 6; string spec; u32 revision; u32 n;
//   n × {string name; u8 rank; u32 lengths[rank]; u8 type; u32 bytes; elements}
//   u32 m; m × {string alias; string name}
//   string: u16 length with NUL; bytes; NUL
//
// Versions 1 … 5 and unknown types are refused by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/io/source.h"
#include "heddle/io/tensor_entry.h"

namespace heddle::io {

enum class Ctranslate2Type : uint8_t { f32, i8, i16, i32, f16, bf16 };

struct Ctranslate2Variable : TensorEntry {
  Ctranslate2Type stored = Ctranslate2Type::f32;  ///< i16 has no DType: `dtype` is u8 then
};

class Ctranslate2File {
 public:
  /// Whether the file starts as a model.bin of any version.
  static bool recognises(const Source& source);

  /// Reads everything but the elements and checks it against the size of the file.
  explicit Ctranslate2File(Source source);

  const Source& source() const { return source_; }
  const std::string& spec() const { return spec_; }  ///< "TransformerSpec"
  uint32_t revision() const { return revision_; }
  const std::vector<Ctranslate2Variable>& variables() const { return variables_; }

  /// Names that stand for another variable.
  const std::map<std::string, std::string, std::less<>>& aliases() const { return aliases_; }

  /// The variable of this name or alias, or nullptr.
  const Ctranslate2Variable* find(std::string_view name) const;

  /// The elements; int16 ones as f32, unscaled.
  Tensor read(const Ctranslate2Variable& variable) const;

 private:
  void read_variables(class ByteReader& reader);
  void read_aliases(class ByteReader& reader);

  Source source_;
  std::string spec_;
  uint32_t revision_ = 0;
  std::vector<Ctranslate2Variable> variables_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::map<std::string, std::string, std::less<>> aliases_;
};

/// What is written under a name: a tensor (f32, f16, bf16, i8, i32) or a single int16.
struct Ctranslate2Output {
  Tensor tensor;
  int16_t number = 0;  ///< when there is no tensor
};

/// Writes a version 6 file, atomically.
void write_ctranslate2(const std::string& path, std::string_view spec, uint32_t revision,
                       const std::map<std::string, Ctranslate2Output>& variables,
                       const std::map<std::string, std::string>& aliases);

}  // namespace heddle::io
