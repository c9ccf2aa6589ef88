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

#include "heddle/tensor/tensor.h"

namespace heddle::io {

/// The array in a regular file; throws an Error that names the file, the field, what was found and
/// what was expected.
Tensor read_npy(const std::string& path);

/// The array in the bytes of such a file, copied; `name` stands for the path in errors.
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name = "bytes");

}  // namespace heddle::io
