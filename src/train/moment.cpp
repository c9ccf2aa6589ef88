#include "heddle/train/moment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "heddle/base/error.h"

namespace heddle::train {

namespace {

using Code = std::array<float, 256>;

/// A sign, a run of zeros that is the exponent of ten, a one, and the rest a linear fraction in
/// [0.1, 1): 7 exponents with 1, 2, 4, … 64 fractions (twice as many without a sign), 0 and 1.
Code make_code(bool is_signed) {
  std::vector<double> shares{0, 1};
  for (int exponent = 0; exponent < 7; ++exponent) {
    const int fractions = (is_signed ? 1 : 2) << exponent;
    for (int i = 0; i < fractions; ++i) {
      const double low = 0.1 + 0.9 * i / fractions, high = 0.1 + 0.9 * (i + 1) / fractions;
      const double share = std::pow(10, exponent - 6) * (low + high) / 2;
      shares.push_back(share);
      if (is_signed) shares.push_back(-share);
    }
  }
  while (shares.size() < 256) shares.push_back(1);
  std::sort(shares.begin(), shares.end());
  Code code{};
  std::transform(shares.begin(), shares.end(), code.begin(),
                 [](double share) { return static_cast<float>(share); });
  return code;
}

/// The place of the share nearest to `value`.
int nearest(const float* code, float value) {
  int low = 0, high = 255;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (code[middle] <= value ? low : high) = middle;
  }
  return value - code[low] <= code[high] - value ? low : high;
}

}  // namespace

std::span<const float> dynamic_code(bool is_signed) {
  static const Code with_sign = make_code(true), without = make_code(false);
  return is_signed ? with_sign : without;
}

Moment::Moment(const Shape& shape, int bits, bool is_signed) {
  HEDDLE_CHECK(bits == 32 || bits == 8, "adam: found a state of ", bits, " bits; expected 32 or 8");
  if (!is_coded(shape, bits)) {
    numbers_ = Tensor::zeros(shape, DType::f32);
    return;
  }
  code_ = dynamic_code(is_signed).data();
  numbers_ = Tensor::empty(shape, DType::i8);
  const int zero = nearest(code_, 0);
  std::memset(numbers_.raw(), zero - 128, static_cast<size_t>(shape.elements()));
  absmax_ = Tensor::zeros({(shape.elements() + kBlock - 1) / kBlock}, DType::f32);
}

float* Moment::open(int64_t begin, int64_t end, float* scratch) {
  if (code_ == nullptr) return numbers_.data<float>() + begin;
  const float size = absmax_.data<float>()[begin / kBlock];
  const int8_t* places = numbers_.data<int8_t>();
  for (int64_t i = begin; i < end; ++i) scratch[i - begin] = size * code_[places[i] + 128];
  return scratch;
}

void Moment::close(int64_t begin, int64_t end, const float* numbers) {
  if (code_ == nullptr) return;
  float size = 0;
  for (int64_t i = 0; i < end - begin; ++i) size = std::max(size, std::abs(numbers[i]));
  absmax_.data<float>()[begin / kBlock] = size;
  const float inverse = size > 0 ? 1 / size : 0;
  int8_t* places = numbers_.data<int8_t>();
  for (int64_t i = begin; i < end; ++i) {
    const float share = std::isfinite(inverse) ? numbers[i - begin] * inverse
                                               : numbers[i - begin] / size;  // tiny sizes
    places[i] = static_cast<int8_t>(nearest(code_, share) - 128);
  }
}

void Moment::add_to(std::map<std::string, Tensor>& tensors, const std::string& name) const {
  tensors.emplace(name, numbers_);
  if (code_ != nullptr) tensors.emplace(name + ".absmax", absmax_);
}

}  // namespace heddle::train
