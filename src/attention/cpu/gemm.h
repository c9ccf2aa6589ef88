// The register-blocked product under all tiles: blocks of R rows × N vectors of sums.
#pragma once

#include <cstdint>

namespace heddle::attention::cpu {

template <typename V, int R, int N>
struct Block {
  typename V::Vec at[R][N];

  void clear() {
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) at[r][n] = V::set(0.0f);
    }
  }
};

/// Where the left operand's element (row, depth) lies.
enum class Left { rows, columns };  ///< a[row · stride + depth], a[depth · stride + row]

/// block[r][lane] += Σ_d a(r, d) · b[d][lane], one fused multiply-add after the other in d's order,
/// so that a product has the same bits in whatever shape of block it is computed.
template <Left kLeft, typename V, int R, int N>
inline __attribute__((always_inline)) void accumulate(Block<V, R, N>& block, const float* a,
                                                      int64_t a_stride, const float* b,
                                                      int64_t b_stride, int depth) {
  using Vec = typename V::Vec;
  for (int d = 0; d < depth; ++d) {
    Vec right[N];
    for (int n = 0; n < N; ++n) right[n] = V::load(b + n * V::kLanes);
    for (int r = 0; r < R; ++r) {
      const Vec left = V::set(kLeft == Left::rows ? a[r * a_stride + d] : a[r]);
      for (int n = 0; n < N; ++n) block.at[r][n] = V::fma(left, right[n], block.at[r][n]);
    }
    b += b_stride;
    if (kLeft == Left::columns) a += a_stride;
  }
}

/// Calls body.template operator()<R>(first row) over [0, rows) in blocks of kBlockRows, 4, 2, 1.
template <int R, typename Body>
inline __attribute__((always_inline)) void for_row_blocks(int rows, const Body& body, int row = 0) {
  for (; row + R <= rows; row += R) body.template operator()<R>(row);
  if constexpr (R > 4) {
    for_row_blocks<4>(rows, body, row);
  } else if constexpr (R > 1) {
    for_row_blocks<R / 2>(rows, body, row);
  }
}

/// A matrix product c += a·b with all operands in plain memory; widths a multiple of the lanes.
struct Product {
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t b_stride;
  float* c;
  int64_t c_stride;
  int rows, depth, width;
};

template <Left kLeft, typename V, int N>
inline void multiply_panel(const Product& p, int column) {
  for_row_blocks<V::kBlockRows>(p.rows, [&]<int R>(int row) {
    Block<V, R, N> block;
    float* c = p.c + row * p.c_stride + column;
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) block.at[r][n] = V::load(c + r * p.c_stride + n * V::kLanes);
    }
    const float* a = p.a + (kLeft == Left::rows ? row * p.a_stride : row);
    accumulate<kLeft>(block, a, p.a_stride, p.b + column, p.b_stride, p.depth);
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) V::store(c + r * p.c_stride + n * V::kLanes, block.at[r][n]);
    }
  });
}

template <Left kLeft, typename V>
inline void multiply(const Product& p) {
  int column = 0;
  for (; column + 2 * V::kLanes <= p.width; column += 2 * V::kLanes) {
    multiply_panel<kLeft, V, 2>(p, column);
  }
  if (column < p.width) multiply_panel<kLeft, V, 1>(p, column);
}

}  // namespace heddle::attention::cpu
