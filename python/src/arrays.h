// Arrays of other libraries (numpy, torch, whatever speaks DLPack) as Heddle's tensors: always a
// view of the same memory, never a copy.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "heddle/tensor/tensor.h"

namespace heddle::python {

using ReadArray = nanobind::ndarray<nanobind::ro>;
using WriteArray = nanobind::ndarray<>;

/// How u16 elements are meant: numpy has no bfloat16 of its own, so its bits come as u16.
enum class Bits16 : bool { refuse, bfloat16 };

/// The array as a tensor of 1 … 4 axes. Throws for another device than the CPU, an element type
/// that Heddle does not know, and an axis of length 0; `name` is for the text.
Tensor tensor_of(std::string_view name, const ReadArray& array, Bits16 bits = Bits16::refuse);
Tensor tensor_of(std::string_view name, const WriteArray& array, Bits16 bits = Bits16::refuse);

/// Row b of the outermost axis.
Tensor row_of(const Tensor& tensor, int64_t b);

/// int32 numbers from an array of any rank (i32 or i64, each checked to fit) or from a sequence.
std::vector<int32_t> numbers_of(std::string_view name, nanobind::handle source);

/// A new numpy array that owns its memory. Uninitialised.
template <typename T>
nanobind::ndarray<nanobind::numpy, T> new_array(std::initializer_list<size_t> shape) {
  size_t elements = 1;
  for (const size_t length : shape) elements *= length;
  auto data = std::make_unique_for_overwrite<T[]>(elements);
  nanobind::capsule owner(data.get(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return {data.release(), shape, owner};
}

}  // namespace heddle::python
