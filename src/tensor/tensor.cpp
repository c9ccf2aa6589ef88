#include "heddle/tensor/tensor.h"

#include <cstring>
#include <utility>

namespace heddle {

Shape::Shape(std::initializer_list<int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  HEDDLE_CHECK(dims.size() <= kMaxRank, "shape: rank ", dims.size(), "; expected at most ",
               kMaxRank);
  int axis = 0;
  for (const int64_t dim : dims) (*this)[axis++] = dim;
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) {
    HEDDLE_CHECK((*this)[axis] >= 0 && !__builtin_mul_overflow(product, (*this)[axis], &product),
                 "shape: ", text(), " has a negative length or too many elements");
  }
  return product;
}

Shape Shape::row_major_strides() const {
  Shape strides = *this;
  int64_t stride = 1;
  for (int axis = rank_ - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= (*this)[axis];
  }
  return strides;
}

std::string Shape::text() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) text += str(axis > 0 ? ", " : "", (*this)[axis]);
  return text + "]";
}

Tensor Tensor::empty(Shape shape, DType dtype, Allocator& allocator) {
  int64_t bytes = 0;
  HEDDLE_CHECK(
      !__builtin_mul_overflow(shape.elements(), static_cast<int64_t>(size_of(dtype)), &bytes),
      "tensor: ", shape.text(), " of ", name_of(dtype), " is too large");
  Tensor tensor;
  tensor.buffer_ = allocator.allocate(static_cast<size_t>(bytes));
  tensor.data_ = tensor.buffer_->data();
  tensor.device_ = tensor.buffer_->device();
  tensor.strides_ = shape.row_major_strides();
  tensor.shape_ = std::move(shape);
  tensor.dtype_ = dtype;
  return tensor;
}

Tensor Tensor::zeros(Shape shape, DType dtype) {
  Tensor tensor = empty(std::move(shape), dtype);
  std::memset(tensor.raw(), 0, tensor.buffer_->bytes());
  return tensor;
}

Tensor Tensor::wrap(void* data, Shape shape, Shape strides, DType dtype, Device device) {
  HEDDLE_CHECK(data != nullptr, "tensor: wrap of a null pointer");
  HEDDLE_CHECK(shape.rank() == strides.rank(), "tensor: shape ", shape.text(), " with strides ",
               strides.text(), "; expected equal ranks");
  Tensor tensor;
  tensor.data_ = data;
  tensor.shape_ = std::move(shape);
  tensor.strides_ = std::move(strides);
  tensor.dtype_ = dtype;
  tensor.device_ = device;
  return tensor;
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  HEDDLE_CHECK(begin >= 0 && begin <= end && end <= dim(axis), "tensor: slice [", begin, ", ", end,
               ") of axis ", axis, "; expected a part of [0, ", dim(axis), ")");
  Tensor part = *this;
  part.shape_[axis] = end - begin;
  part.data_ =
      static_cast<std::byte*>(data_) + begin * stride(axis) * static_cast<int64_t>(size_of(dtype_));
  return part;
}

Tensor Tensor::reshape(Shape shape) const {
  HEDDLE_CHECK(is_contiguous(), "tensor: reshape of a strided view; expected a contiguous one");
  HEDDLE_CHECK(shape.elements() == elements(), "tensor: reshape of ", shape_.text(), " to ",
               shape.text(), "; expected equal element counts");
  Tensor view = *this;
  view.strides_ = shape.row_major_strides();
  view.shape_ = std::move(shape);
  return view;
}

}  // namespace heddle
