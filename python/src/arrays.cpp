#include "arrays.h"

#include <nanobind/stl/vector.h>

#include <iterator>
#include <limits>
#include <string>

namespace nb = nanobind;

namespace heddle::python {

namespace {

template <typename Array>
std::string shape_text(const Array& array) {
  std::string text = "[";
  for (size_t axis = 0; axis < array.ndim(); ++axis) {
    text += str(axis > 0 ? ", " : "", array.shape(axis));
  }
  return text + "]";
}

DType dtype_of_array(std::string_view name, nb::dlpack::dtype dtype, Bits16 bits) {
  if (dtype == nb::dtype<double>()) return DType::f64;
  if (dtype == nb::dtype<float>()) return DType::f32;
  if (dtype == nb::dtype<int64_t>()) return DType::i64;
  if (dtype == nb::dtype<int32_t>()) return DType::i32;
  if (dtype == nb::dtype<int8_t>()) return DType::i8;
  if (dtype == nb::dtype<uint8_t>() || dtype == nb::dtype<bool>()) return DType::u8;
  if (dtype == nb::dtype<uint16_t>() && bits == Bits16::bfloat16) return DType::bf16;
  if (dtype.bits == 16 && dtype.lanes == 1) {
    if (dtype.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Float)) return DType::f16;
    if (dtype.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat)) return DType::bf16;
  }
  constexpr std::string_view kKinds[] = {"i", "u", "f"};
  detail::throw_error(
      str(name, " has elements of type ", dtype.code < std::size(kKinds) ? kKinds[dtype.code] : "?",
          unsigned{dtype.bits}, "; expected f64, f32, f16, bf16, i64, i32, i8, u8 or bool"));
}

Shape axes(const int64_t* lengths, size_t rank) {
  switch (rank) {
    case 1:
      return {lengths[0]};
    case 2:
      return {lengths[0], lengths[1]};
    case 3:
      return {lengths[0], lengths[1], lengths[2]};
    default:
      return {lengths[0], lengths[1], lengths[2], lengths[3]};
  }
}

template <typename Array>
Tensor wrap(std::string_view name, const Array& array, Bits16 bits) {
  HEDDLE_CHECK(array.device_type() == nb::device::cpu::value, name,
               " is on another device; expected the CPU");
  HEDDLE_CHECK(array.ndim() >= 1 && array.ndim() <= 4 && array.size() > 0, name, " is ",
               shape_text(array), "; expected 1 … 4 axes, none of length 0");
  return Tensor::wrap(const_cast<void*>(static_cast<const void*>(array.data())),
                      axes(array.shape_ptr(), array.ndim()), axes(array.stride_ptr(), array.ndim()),
                      dtype_of_array(name, array.dtype(), bits));
}

/// Appends the elements in row-major order, whatever the strides.
template <typename T>
void append_numbers(std::string_view name, const Tensor& tensor, std::vector<int32_t>& numbers) {
  if (tensor.rank() > 1) {
    for (int64_t b = 0; b < tensor.dim(0); ++b) {
      append_numbers<T>(name, row_of(tensor, b), numbers);
    }
    return;
  }
  for (int64_t i = 0; i < tensor.dim(0); ++i) {
    const int64_t value = tensor.data<T>()[i * tensor.stride(0)];
    HEDDLE_CHECK(value >= std::numeric_limits<int32_t>::min() &&
                     value <= std::numeric_limits<int32_t>::max(),
                 name, " holds ", value, "; expected numbers that fit in 32 bits");
    numbers.push_back(static_cast<int32_t>(value));
  }
}

}  // namespace

Tensor tensor_of(std::string_view name, const ReadArray& array, Bits16 bits) {
  return wrap(name, array, bits);
}

Tensor tensor_of(std::string_view name, const WriteArray& array, Bits16 bits) {
  return wrap(name, array, bits);
}

Tensor row_of(const Tensor& tensor, int64_t b) {
  Shape shape, strides;
  switch (tensor.rank()) {
    case 2:
      shape = {tensor.dim(1)};
      strides = {tensor.stride(1)};
      break;
    case 3:
      shape = {tensor.dim(1), tensor.dim(2)};
      strides = {tensor.stride(1), tensor.stride(2)};
      break;
    default:
      shape = {tensor.dim(1), tensor.dim(2), tensor.dim(3)};
      strides = {tensor.stride(1), tensor.stride(2), tensor.stride(3)};
  }
  return Tensor::wrap(tensor.slice(0, b, b + 1).raw(), shape, strides, tensor.dtype());
}

std::vector<int32_t> numbers_of(std::string_view name, nb::handle source) {
  std::vector<int32_t> numbers;
  if (!nb::ndarray_check(source)) {
    if (!nb::try_cast(source, numbers)) {
      detail::throw_error(str(name, " is neither an array nor a sequence of 32-bit integers"));
    }
    return numbers;
  }
  const Tensor tensor = tensor_of(name, nb::cast<ReadArray>(source, false));
  HEDDLE_CHECK(tensor.dtype() == DType::i32 || tensor.dtype() == DType::i64, name, " is ",
               name_of(tensor.dtype()), "; expected i32 or i64");
  numbers.reserve(static_cast<size_t>(tensor.elements()));
  if (tensor.dtype() == DType::i32) {
    append_numbers<int32_t>(name, tensor, numbers);
  } else {
    append_numbers<int64_t>(name, tensor, numbers);
  }
  return numbers;
}

}  // namespace heddle::python
