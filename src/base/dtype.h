// Element types of tensors, their sizes and names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "heddle/base/half.h"

namespace heddle {

enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, i8, u8 };

inline DType stored_as(Half half) { return half == Half::bf16 ? DType::bf16 : DType::f16; }

/// Bytes of one element.
size_t size_of(DType dtype);

/// "f32", "bf16", …
std::string_view name_of(DType dtype);

/// The DType of a C++ element type; `dtype_of<float>` is DType::f32.
template <typename T>
inline constexpr DType dtype_of = DType::u8;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<Float16> = DType::f16;
template <>
inline constexpr DType dtype_of<BFloat16> = DType::bf16;
template <>
inline constexpr DType dtype_of<int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<int8_t> = DType::i8;

}  // namespace heddle
