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
  template <typename Shape>
  __device__ __forceinline__ int key() const {
    return (Shape::kSplitColumns ? 0 : consumer * 64) + warp() * 16 + lane() / 4;
  }
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

/// With options: scores to P and to gains, P · dx/ds, as in attention.h. `row` and `key` are the
/// thread's first.
template <typename Element>
__device__ __forceinline__ void apply_backward_options(const Problem& p, int32_t head,
                                                       float (&scores)[32], Weights& weights,
                                                       Weights& gains, const float* lse,
                                                       int32_t row, int32_t key) {
  float bend = 0;  // dx/ds = 1 − bend · x²
  if (p.softcap > 0) {
    // tanh through one exponential: the unit's own tanh keeps 11 bits only.
    const float inner = 2 * kLog2E * p.scale / p.softcap;
    bend = 1 / (p.softcap * p.softcap);
#pragma unroll
    for (float& score : scores) {
      score = p.softcap * (1 - 2 * reciprocal_fast(exp2_fast(score * inner) + 1));
    }
  } else {
#pragma unroll
    for (float& score : scores) score *= p.scale;
  }
  const float slope = p.alibi_slopes == nullptr ? 0.0f : __ldg(p.alibi_slopes + head) * kLog2E;
  const float distance = static_cast<float>(row + p.mask.offset - key);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float2 of_row = *reinterpret_cast<const float2*>(lse + 8 * j);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float weight[2], gain[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float score = scores[4 * j + 2 * r + e];
        const float beyond = static_cast<float>(8 * j + e - 8 * r);  // in rows less keys
        const float x = fmaf(score, kLog2E, -(e == 0 ? of_row.x : of_row.y));
        weight[e] = exp2_fast(fmaf(-slope, fabsf(distance + beyond), x));
        gain[e] = weight[e] * fmaf(-bend * score, score, 1.0f);
      }
      gains[j / 2][2 * (j % 2) + r] = pack<Element>(gain[0], gain[1]);
      weights[j / 2][2 * (j % 2) + r] = pack<Element>(weight[0], weight[1]);
    }
  }
}

/// Scores to P as an operand.
template <typename Element>
__device__ __forceinline__ void to_probabilities(float factor, const float (&scores)[32],
                                                 Weights& weights, const float* lse) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float2 of_row = *reinterpret_cast<const float2*>(lse + 8 * j);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int i = 4 * j + 2 * r;
      weights[j / 2][2 * (j % 2) + r] =
          pack<Element>(exp2_fast(fmaf(scores[i], factor, -of_row.x)),
                        exp2_fast(fmaf(scores[i + 1], factor, -of_row.y)));
    }
  }
}

/// dS = gains ∘ (dP − Δ) as an operand; without options the gains are P. In 16 bits, as P was
/// multiplied with dO: 32 would leave no registers for that product to run on meanwhile.
template <typename Element>
__device__ __forceinline__ void to_score_gradients(const Weights& gains, const float (&d_p)[32],
                                                   Weights& weights, const float* delta) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float2 of_row = *reinterpret_cast<const float2*>(delta + 8 * j);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int i = 4 * j + 2 * r;
      const float2 gain = unpack<Element>(gains[j / 2][2 * (j % 2) + r]);
      weights[j / 2][2 * (j % 2) + r] =
          pack<Element>(gain.x * (d_p[i] - of_row.x), gain.y * (d_p[i + 1] - of_row.y));
    }
  }
}

}  // namespace heddle::attention::cuda::sm90
