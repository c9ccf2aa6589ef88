#include "heddle/autograd/tape.h"

#include <algorithm>

#include "heddle/ops/cpu/kernels.h"

namespace heddle::autograd {

void HostMemory::zero(float* floats, int64_t count) { std::fill_n(floats, count, 0.0f); }

void HostMemory::add(ops::PlainRows from, ops::PlainRows to, int64_t count, int64_t width) const {
  const auto add_row = values.kernels().backward.add;
  for (int64_t r = 0; r < count; ++r) add_row(from.row(r), width, 1, to.row(r));
}

}  // namespace heddle::autograd
