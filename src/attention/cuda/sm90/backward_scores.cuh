// The arithmetic of the backward's consumers between their products: scores to P, P and dP to dS,
// and the mask, which for a thread is that of its two keys.
#pragma once

#include "heddle/attention/cuda/sm90/backward.cuh"
#include "heddle/attention/cuda/sm90/mask_bits.cuh"
#include "heddle/attention/cuda/sm90/softmax.cuh"

namespace heddle::attention::cuda::sm90 {

/// 16-bit Pᵀ or dSᵀ of 64 keys × 64 rows as the A operand: words[s] serves rows [16·s, 16·s + 16).
using Weights = uint32_t[4][4];

/// Who the thread is in its warpgroup of consumers.
struct Consumer {
  int thread, consumer;

  /// Read anew at each use, so that what follows from it, dozens of addresses, is computed where it
  /// is needed and not kept in registers all through the loop.
  __device__ __forceinline__ static Consumer fresh() {
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return {thread % 128, thread / 128 - 1};
  }
  __device__ __forceinline__ int warp() const { return thread / 32; }
  __device__ __forceinline__ int lane() const { return thread % 32; }
  /// The first of this thread's two keys in the tile; the other is 8 further.
  __device__ __forceinline__ int key() const { return consumer * 64 + warp() * 16 + lane() / 4; }
  /// The first of this thread's rows of a query tile; more at + 1, + 8, + 9, + 16, …
  __device__ __forceinline__ int row() const { return 2 * (lane() % 4); }
};

/// Which of 64 rows may look at this thread's two keys.
struct SeenRows {
  uint32_t words[2][2];  // [key][32 rows]

  /// `key` and `row` are the thread's first key and the first of the 64 rows.
  __device__ __forceinline__ void find(const heddle::cuda::DeviceColumns& mask,
                                       const ColumnBounds* bounds, int32_t key, int32_t row) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const MaskColumn column = mask_column(mask, bounds[8 * r], key + 8 * r);
      words[r][0] = visible_bits(column, row);
      words[r][1] = visible_bits(column, row + 32);
    }
  }

  /// Selects: what is hidden may be NaN. `row` is the thread's first. A permutation of bytes that
  /// repeats their sign bits makes the mask of a pair of elements in one instruction.
  __device__ __forceinline__ void keep(Weights& weights, int row) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t even = words[r][i] << (7 - row), odd = words[r][i] << (6 - row);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint32_t selector = (0xCu | j) * 0x1100u + (0x8u | j) * 0x11u;
          uint32_t pair;
          asm("prmt.b32 %0, %1, %2, %3;" : "=r"(pair) : "r"(even), "r"(odd), "r"(selector));
          weights[2 * i + j / 2][2 * (j % 2) + r] &= pair;
        }
      }
    }
  }
};

/// What one head's options do to its scores, as in attention.h.
struct BackwardOptions {
  float scale, softcap, slope;
  int32_t offset;

  __device__ __forceinline__ BackwardOptions(const Problem& p, int32_t head)
      : scale(p.scale),
        softcap(p.softcap),
        slope(p.alibi_slopes == nullptr ? 0.0f : __ldg(p.alibi_slopes + head)),
        offset(p.mask.offset) {}

  /// q·k to x · log2(e); `derivative` becomes dx / d(scale · q·k).
  __device__ __forceinline__ float apply(float score, int32_t row, int32_t key,
                                         float& derivative) const {
    float x = score * scale;
    derivative = 1;
    if (softcap > 0) {
      // tanh through one exponential: the unit's own tanh keeps 11 bits only.
      const float t = 1 - __fdividef(2.0f, exp2_fast(x * (2 * kLog2E / softcap)) + 1);
      x = softcap * t;
      derivative = 1 - t * t;
    }
    return (x - slope * static_cast<float>(abs(row + offset - key))) * kLog2E;
  }
};

/// Scores to P, in place and as an operand. With options the scores become P · dx/ds instead. `row`
/// and `key` are the thread's first.
template <typename Shape>
__device__ __forceinline__ void to_probabilities(const Problem& p, int32_t head,
                                                 float (&scores)[32], Weights& weights,
                                                 const float* lse, int32_t row, int32_t key) {
  const BackwardOptions options(p, head);
  const float factor = p.scale * kLog2E;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float2 of_row = *reinterpret_cast<const float2*>(lse + 8 * j);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float weight[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& score = scores[4 * j + 2 * r + e];
        const float row_lse = e == 0 ? of_row.x : of_row.y;
        if constexpr (Shape::kOptions) {
          float derivative;
          const float x = options.apply(score, row + 8 * j + e, key + 8 * r, derivative);
          weight[e] = exp2_fast(x - row_lse);
          score = weight[e] * derivative;
        } else {
          weight[e] = score = exp2_fast(fmaf(score, factor, -row_lse));
        }
      }
      weights[j / 2][2 * (j % 2) + r] = pack<typename Shape::Element>(weight[0], weight[1]);
    }
  }
}

/// dS = P ∘ (dP − Δ) as an operand.
template <typename Shape>
__device__ __forceinline__ void to_score_gradients(const float (&p)[32], const float (&d_p)[32],
                                                   Weights& weights, const float* delta) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float2 of_row = *reinterpret_cast<const float2*>(delta + 8 * j);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int i = 4 * j + 2 * r;
      weights[j / 2][2 * (j % 2) + r] = pack<typename Shape::Element>(
          p[i] * (d_p[i] - of_row.x), p[i + 1] * (d_p[i + 1] - of_row.y));
    }
  }
}

}  // namespace heddle::attention::cuda::sm90
