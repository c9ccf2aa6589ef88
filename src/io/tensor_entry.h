// One tensor as a file lists it: what all readers of tensor files have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "heddle/base/dtype.h"
#include "heddle/tensor/tensor.h"

namespace heddle::io {

struct TensorEntry {
  std::string name;
  Shape shape;
  DType dtype = DType::u8;  ///< of the elements; u8 where no DType stands for `type`
  std::string_view type;    ///< what the format calls it
  uint64_t offset = 0;      ///< of the first element in the file
  uint64_t bytes = 0;       ///< of the elements
};

/// Most tensors one file may list: more than any model has, few enough to hold beside the file.
inline constexpr uint64_t kMostTensors = 100'000;

/// Longest name of a tensor, bytes.
inline constexpr uint64_t kLongestName = 4096;

}  // namespace heddle::io
