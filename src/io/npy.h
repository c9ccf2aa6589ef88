// Reads NumPy's .npy files, format versions 1, 2 and 3.
//
// A file is data: every byte is checked before it is used, and nothing larger than the file is ever
// allocated. Read are C-ordered little-endian arrays of up to 6 axes:
//   f2 f4 f8 → f16 f32 f64    i1 i4 i8 → i8 i32 i64    u1 and b1 (bool, each byte 0 or 1) → u8
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "heddle/io/source.h"
#include "heddle/tensor/tensor.h"

namespace heddle::io {

/// The array in a regular file; throws an Error that names the file, the field, what was found and
/// what was expected.
Tensor read_npy(const std::string& path);

Tensor read_npy(const Source& source);

/// The array in the bytes of such a file, copied; `name` stands for the path in errors.
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name = "bytes");

/// What a header says, and where in the source the elements lie.
struct NpyLayout {
  Shape shape;
  DType dtype = DType::u8;
  bool is_bool = false;
  uint64_t data_offset = 0;
  uint64_t data_bytes = 0;
};

/// The header of the array that fills [begin, begin + size) of a source.
NpyLayout read_npy_layout(const Source& source, uint64_t begin, uint64_t size,
                          std::string_view name);

/// Refuses bools that are neither 0 nor 1.
void check_npy_elements(const Tensor& tensor, const NpyLayout& layout, std::string_view name);

}  // namespace heddle::io
