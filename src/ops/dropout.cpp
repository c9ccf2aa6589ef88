#include "heddle/ops/dropout.h"

#include <algorithm>
#include <cmath>

#include "heddle/base/error.h"
#include "heddle/base/random.h"

namespace heddle::ops {

namespace {

constexpr int64_t kNumbers = 8;  // of 16 bits in one draw

/// The numbers of columns [8 · block, 8 · block + 8) of a row.
std::array<uint32_t, 4> draw(const Dropout& dropout, int64_t row, int64_t block) {
  const uint64_t number = dropout.first_row + static_cast<uint64_t>(row);
  const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  return philox({low(static_cast<uint64_t>(block)), low(number),
                 low(number >> 32) << 16 | dropout.site, low(dropout.step)},
                {low(dropout.seed), low(dropout.seed >> 32) ^ low(dropout.step >> 32)});
}

uint32_t number_of(const std::array<uint32_t, 4>& words, int64_t i) {
  return words[static_cast<size_t>(i / 2)] >> 16 * (i % 2) & 0xffffu;
}

/// Numbers below this are dropped.
uint32_t bound_of(const Dropout& dropout) {
  return static_cast<uint32_t>(std::lround(dropout.probability * 65536));
}

}  // namespace

bool keeps(const Dropout& dropout, int64_t row, int64_t column) {
  return number_of(draw(dropout, row, column / kNumbers), column % kNumbers) >= bound_of(dropout);
}

void drop(const Dropout& dropout, PlainRows x, int64_t count, int64_t width, PlainRows y) {
  const uint32_t bound = bound_of(dropout);
  HEDDLE_CHECK(dropout.probability >= 0 && bound < 65536, "dropout: probability ",
               dropout.probability, "; expected 0 or more, below 1");
  HEDDLE_CHECK(dropout.site < 65536 && dropout.first_row < (uint64_t{1} << 48), "dropout: site ",
               dropout.site, ", row ", dropout.first_row, "; expected below 2^16 and 2^48");
  const float scale = 65536.0f / static_cast<float>(65536 - bound);
  for (int64_t r = 0; r < count; ++r) {
    const float* from = x.row(r);
    float* to = y.row(r);
    for (int64_t at = 0; at < width; at += kNumbers) {
      const std::array<uint32_t, 4> words = draw(dropout, r, at / kNumbers);
      for (int64_t i = 0; i < std::min(kNumbers, width - at); ++i) {
        to[at + i] = number_of(words, i) < bound ? 0.0f : from[at + i] * scale;
      }
    }
  }
}

}  // namespace heddle::ops
