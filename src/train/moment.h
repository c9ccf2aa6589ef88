// A moment of the optimiser for one slot: f32, or 8 bits a number.
//
// Eight bits are block-wise dynamic quantisation (Dettmers et al. 2022, arXiv:2110.02861): a block
// of 256 numbers has its largest size in f32; each number is one of 256 shares of it, spaced like
// floating point with more digits near 1. Vectors and small matrices stay f32.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "heddle/tensor/tensor.h"

namespace heddle::train {

class Moment {
 public:
  static constexpr int64_t kBlock = 256;   // numbers
  static constexpr int64_t kLeast = 4096;  // smaller slots are not worth it

  /// Whether a moment of this shape takes 8 bits a number where `bits` is 8.
  static bool is_coded(const Shape& shape, int bits) {
    return bits == 8 && shape.rank() > 1 && shape.elements() >= kLeast;
  }

  /// Zeros. `bits` is 32 or 8; one that is never negative has finer steps.
  Moment(const Shape& shape, int bits, bool is_signed);

  /// The numbers [begin, end), at most a block that does not cross a multiple of kBlock: in place
  /// for f32, else decoded into `scratch` [kBlock].
  float* open(int64_t begin, int64_t end, float* scratch);

  /// Puts back what open() gave, when it was changed.
  void close(int64_t begin, int64_t end, const float* numbers);

  /// The tensors that hold it, sharing their memory: NAME, and for 8 bits NAME.absmax.
  void add_to(std::map<std::string, Tensor>& tensors, const std::string& name) const;

 private:
  Tensor numbers_;               // f32 or i8: places in the code, less 128
  Tensor absmax_;                // f32 [blocks]; 8 bits only
  const float* code_ = nullptr;  // 256 shares, rising; 8 bits only
};

/// The 256 shares in rising order: −1 … 1, or 0 … 1.
std::span<const float> dynamic_code(bool is_signed);

}  // namespace heddle::train
