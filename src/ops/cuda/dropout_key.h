// From ops::Dropout to what kernels take.
#pragma once

#include <cmath>

#include "heddle/base/error.h"
#include "heddle/ops/cuda/launch.h"
#include "heddle/ops/dropout.h"

namespace heddle::ops::cuda {

/// The numbers that ops::drop draws; throws where it does.
inline DropoutKey dropout_key(const Dropout& dropout) {
  const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  const auto bound = static_cast<uint32_t>(std::lround(dropout.probability * 65536));
  HEDDLE_CHECK(dropout.probability >= 0 && bound < 65536, "dropout: probability ",
               dropout.probability, "; expected 0 or more, below 1");
  HEDDLE_CHECK(dropout.site < 65536 && dropout.first_row < (uint64_t{1} << 48), "dropout: site ",
               dropout.site, ", row ", dropout.first_row, "; expected below 2^16 and 2^48");
  return {.bound = bound,
          .scale = 65536.0f / static_cast<float>(65536 - bound),
          .site = dropout.site,
          .step = low(dropout.step),
          .key0 = low(dropout.seed),
          .key1 = low(dropout.seed >> 32) ^ low(dropout.step >> 32),
          .first_row = dropout.first_row};
}

}  // namespace heddle::ops::cuda
