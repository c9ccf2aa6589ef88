// What follows a product, while its sums are in registers.
#pragma once

#include "heddle/ops/cpu/functions.h"
#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops::cpu {

/// Finishes rows of one tile; what all rows share is read once. kWhole: all 16 columns exist.
template <typename V, bool kWhole>
class TileFinish {
 public:
  using L = Lanes<V>;

  /// Columns [column, column + count) of the product's rows.
  __attribute__((always_inline)) TileFinish(const Finish& finish, int64_t column, int64_t count)
      : finish_(finish), column_(column), count_(count) {
    bias_ = finish.bias != nullptr ? load(finish.bias + column) : L::set(0.0f);
  }

  __attribute__((always_inline)) void row(int64_t r, L y) const {
    if (finish_.bias != nullptr) y = y + bias_;
    if (finish_.activation == Activation::relu) {
      y = L::max(L::set(0.0f), y);
    } else if (finish_.activation != Activation::none) [[unlikely]] {
      y = activated(y);
    }
    if (finish_.residual != nullptr) {
      y = y + load(finish_.residual + r * finish_.residual_stride + column_);
    }
    if (finish_.y != nullptr) {
      float* to = finish_.y + r * finish_.y_stride + column_;
      if constexpr (kWhole) {
        y.store(to);
      } else {
        y.store_first(to, count_);
      }
    }
    if (finish_.codes != nullptr) {
      y.store_codes(finish_.inverse_step, finish_.zero,
                    finish_.codes + r * finish_.codes_stride + column_);
    }
  }

 private:
  __attribute__((always_inline)) L load(const float* from) const {
    if constexpr (kWhole) {
      return L::load(from);
    } else {
      return L::load_first(from, count_);
    }
  }
  __attribute__((noinline)) L activated(L y) const { return apply<V>(finish_.activation, y); }

  const Finish& finish_;
  int64_t column_, count_;
  L bias_;
};

/// body(finish of the tile), whole or not.
template <typename V, typename Body>
inline __attribute__((always_inline)) void with_finish(const Finish& finish, int64_t column,
                                                       int64_t count, const Body& body) {
  if (count >= kTile) [[likely]] {
    body(TileFinish<V, true>(finish, column, count));
  } else {
    body(TileFinish<V, false>(finish, column, count));
  }
}

/// The sums of one row and one tile as floats.
template <typename V>
inline __attribute__((always_inline)) Lanes<V> as_floats(const int32_t* sums) {
  return Lanes<V>::map([&](int i) { return V::from_ints(sums + i * V::kLanes); });
}

}  // namespace heddle::ops::cpu
