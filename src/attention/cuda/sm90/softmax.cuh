// Softmax over key tiles as they come: each thread keeps, for its two rows (g and g + 8 of its
// warp's 16), the largest score so far and its own share of the sum of exponentials.
//
// Exponentials are powers of two: exp(scale·(s − m)) = 2^(s·c − m·c) with c = scale·log2(e), one
// fused multiply-add and one instruction.
#pragma once

#include "heddle/attention/cuda/sm90/ptx.cuh"

namespace heddle::attention::cuda::sm90 {

inline constexpr float kLog2E = 1.44269504088896f;
inline constexpr float kLn2 = 0.693147180559945f;

struct RowState {
  float maximum[2] = {-INFINITY, -INFINITY};  // what exponents are taken against
  float sum[2] = {0, 0};                      // this thread's columns only
};

/// A row's maximum may lag behind its scores by this much, so that sums seldom need to shrink:
/// exponentials then reach 2^8, which 16-bit floats hold as exactly as 1.
inline constexpr float kSlack = 8;

/// Turns scores into 2^(c·score − row maximum) and updates the rows, c > 0. True when what was
/// summed before must shrink by the factors given.
template <int kCount>
__device__ __forceinline__ bool exponentiate(float (&scores)[kCount], RowState& rows, float c,
                                             float (&shrink)[2]) {
  float maximum[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float even = scores[2 * r], odd = scores[2 * r + 1];
#pragma unroll
    for (int j = 1; j < kCount / 4; ++j) {
      even = fmaxf(even, scores[4 * j + 2 * r]);
      odd = fmaxf(odd, scores[4 * j + 2 * r + 1]);
    }
    maximum[r] = fmaxf(even, odd);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    maximum[r] = fmaxf(maximum[r], __shfl_xor_sync(0xffffffffu, maximum[r], 1));
    maximum[r] = fmaxf(maximum[r], __shfl_xor_sync(0xffffffffu, maximum[r], 2)) * c;
  }
  const bool grew[2] = {maximum[0] > rows.maximum[0] + kSlack,
                        maximum[1] > rows.maximum[1] + kSlack};
  const bool shrinks = __any_sync(0xffffffffu, grew[0] || grew[1]);
  if (shrinks) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // Each row by itself: what its neighbours see must change none of its bits.
      const float top = grew[r] ? maximum[r] : rows.maximum[r];
      shrink[r] = grew[r] ? exp2_fast(rows.maximum[r] - top) : 1.0f;
      rows.maximum[r] = top;
      rows.sum[r] *= shrink[r];
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float offset = rows.maximum[r] == -INFINITY ? 0.0f : rows.maximum[r];
    float sum = rows.sum[r];
#pragma unroll
    for (int j = 0; j < kCount / 4; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& score = scores[4 * j + 2 * r + e];
        score = exp2_fast(fmaf(score, c, -offset));
        sum += score;
      }
    }
    rows.sum[r] = sum;
  }
  return shrinks;
}

/// Rounds the exponentials to the A operand of the product with V: words[k] serves keys
/// [16·k, 16·k + 16). The accumulator's layout is the operand's, taken two blocks of 8 at a time.
template <typename Element, int kCount>
__device__ __forceinline__ void to_operand(const float (&scores)[kCount],
                                           uint32_t (&words)[kCount / 8][4]) {
#pragma unroll
  for (int k = 0; k < kCount / 8; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[k][i] = pack<Element>(scores[8 * k + 2 * i], scores[8 * k + 2 * i + 1]);
    }
  }
}

template <int kCount>
__device__ __forceinline__ void scale_rows(float (&out)[kCount], const float (&factor)[2]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) out[i] *= factor[(i / 2) % 2];
}

/// What one head's options do to its scores: soft-cap, then the distance penalty, in units of the
/// exponent, so that the softmax after it has c = 1.
struct ScoreOptions {
  float scale, softcap, slope;
  int32_t offset;  // query row i stands at key i + offset
};

template <int kCount>
__device__ __forceinline__ void apply_options(float (&scores)[kCount], const ScoreOptions& options,
                                              int32_t row, int32_t key) {
  const float scale = options.scale * kLog2E;
  if (options.softcap > 0) {
    // tanh through one exponential: the unit's own tanh keeps 11 bits only.
    const float cap = options.softcap * kLog2E, inner = 2 * scale / options.softcap;
#pragma unroll
    for (float& score : scores) {
      score = cap * (1 - 2 * reciprocal_fast(exp2_fast(score * inner) + 1));
    }
  } else {
#pragma unroll
    for (float& score : scores) score *= scale;
  }
  if (options.slope != 0) {
    const float slope = options.slope * kLog2E;
    const float distance = static_cast<float>(row + options.offset - key);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int beyond = 8 * (i / 4) + i % 2 - 8 * ((i / 2) % 2);  // in keys less rows
      scores[i] = fmaf(-slope, fabsf(distance - static_cast<float>(beyond)), scores[i]);
    }
  }
}

/// Ends the rows: what to multiply the sums of values by, and the natural log-sum-exp. `sink` is
/// one more logit, in units of the exponent; −inf when there is none.
__device__ __forceinline__ void finish_rows(const RowState& rows, float sink, float (&factor)[2],
                                            float (&lse)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = rows.sum[r];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    const bool blind = sum == 0;  // sees no key; false for NaN, which must show
    // A sink may lie so far above the scores that its exponential against them overflows.
    const float top = fmaxf(rows.maximum[r], sink);
    const float share = exp2_fast(rows.maximum[r] - top);
    sum = sum * share + exp2_fast(sink - top);
    factor[r] = blind ? 0.0f : share / sum;
    lse[r] = blind ? -INFINITY : (top + log2f(sum)) * kLn2;
  }
}

}  // namespace heddle::attention::cuda::sm90
