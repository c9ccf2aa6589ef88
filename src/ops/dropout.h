// Dropout: y = x / (1 − p) with probability 1 − p, else 0. The random number of an element is named
// by (seed, step, site, row, column), so nothing is stored for the backward, which is the same
// operation on gradients, and no number of threads or shards changes it.
#pragma once

#include <cstdint>

#include "heddle/ops/rows.h"

namespace heddle::ops {

struct Dropout {
  double probability = 0;  ///< p in [0, 1); known to 1 / 65536
  uint64_t seed = 0;
  uint64_t step = 0;
  uint64_t first_row = 0;  ///< number of row 0, below 2^48
  uint32_t site = 0;       ///< place in the model, below 2^16
};

/// Whether the element stays.
bool keeps(const Dropout& dropout, int64_t row, int64_t column);

/// y = dropout(x), [count, width]; y may be x.
void drop(const Dropout& dropout, PlainRows x, int64_t count, int64_t width, PlainRows y);

}  // namespace heddle::ops
