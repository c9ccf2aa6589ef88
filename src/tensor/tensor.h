// A tensor is a view: pointer, shape, strides, dtype and device on a counted buffer. Copying one
// copies the view, never the numbers.
//
// Shape legend used everywhere: T packed tokens, D model, H query heads, K key/value heads, E head
// dimension, V vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "heddle/base/dtype.h"
#include "heddle/base/error.h"
#include "heddle/tensor/buffer.h"

namespace heddle {

/// Lengths of the axes, outermost first. Also used for strides, counted in elements.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[checked(axis)]; }
  int64_t& operator[](int axis) { return dims_[checked(axis)]; }
  int64_t elements() const;  ///< product of the lengths; throws when it does not fit 63 bits
  Shape row_major_strides() const;
  std::string text() const;  ///< "[5, 8, 64]"
  bool operator==(const Shape&) const = default;

 private:
  size_t checked(int axis) const {
    HEDDLE_CHECK(axis >= 0 && axis < rank_, "shape: axis ", axis, " of rank ", rank_);
    return static_cast<size_t>(axis);
  }

  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

class Tensor {
 public:
  Tensor() = default;  ///< no tensor: `defined()` is false

  /// Uninitialised, row-major.
  static Tensor empty(Shape shape, DType dtype, Allocator& allocator = host_allocator());

  /// All bits zero.
  static Tensor zeros(Shape shape, DType dtype);

  /// A view of memory that somebody else owns and keeps alive; strides in elements.
  static Tensor wrap(void* data, Shape shape, Shape strides, DType dtype, Device device = {});

  bool defined() const { return data_ != nullptr; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t stride(int axis) const { return strides_[axis]; }
  const Shape& shape() const { return shape_; }
  int64_t elements() const { return shape_.elements(); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  bool is_contiguous() const { return strides_ == shape_.row_major_strides(); }

  void* raw() const { return data_; }

  /// Pointer to the first element; throws unless T is the element type.
  template <typename T>
  T* data() const {
    HEDDLE_CHECK(dtype_of<T> == dtype_, "tensor: asked for ", name_of(dtype_of<T>), "; found ",
                 name_of(dtype_));
    return static_cast<T*>(data_);
  }

  Tensor slice(int axis, int64_t begin, int64_t end) const;  ///< [begin, end) of one axis
  Tensor reshape(Shape shape) const;                         ///< same elements; contiguous only

 private:
  void* data_ = nullptr;
  Shape shape_;
  Shape strides_;
  DType dtype_ = DType::f32;
  Device device_;
  std::shared_ptr<Buffer> buffer_;
};

}  // namespace heddle
