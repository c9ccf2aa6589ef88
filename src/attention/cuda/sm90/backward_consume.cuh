// The consumers of the backward kernel: see backward.cuh. All products of one query tile, and how
// they overlap with the arithmetic between them.
#pragma once

#include "heddle/attention/cuda/sm90/backward.cuh"
#include "heddle/attention/cuda/sm90/mask_bits.cuh"

namespace heddle::attention::cuda::sm90 {

inline constexpr int kScoresBarrier = 1;  // named: dSᵀ of both consumers is in shared memory

/// 16-bit Pᵀ or dSᵀ of 64 keys as the A operand: words[s] serves rows [16·s, 16·s + 16).
template <typename Shape>
using Weights = uint32_t[Shape::kRows / 16][4];

/// Issues result[64 keys × rows] = keys[64 × E] · rows[rows × E]ᵀ.
template <typename Shape>
__device__ __forceinline__ void issue_scores(float (&result)[Shape::kRows / 2], uint32_t keys,
                                             uint32_t rows) {
  using Product = Wgmma<typename Shape::Element, Shape::kRows>;
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kHeadDim / 16; ++step) {
    const int block = step / 4, within = (step % 4) * 32;  // 16 columns are 32 bytes
    Product::template ss<0, 0>(result, operand(keys + block * Shape::kKeys * 128 + within, 16),
                               operand(rows + block * Shape::kRows * 128 + within, 16), step != 0);
  }
  matrix_commit();
}

/// Issues sum[64 keys × E] += weights[64 × rows] · rows[rows × E].
template <typename Shape>
__device__ __forceinline__ void issue_sum(float (&sum)[Shape::kHeadDim / 2],
                                          const Weights<Shape>& weights, uint32_t rows) {
  using Product = Wgmma<typename Shape::Element, Shape::kHeadDim>;
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kRows / 16; ++step) {
    Product::template rs<1>(sum, weights[step], operand(rows + step * 16 * 128, Shape::kRows * 128),
                            1);
  }
  matrix_commit();
}

/// Issues this consumer's half of dQ: 64 rows × 64 columns of dS[rows × keys] · K[keys × E].
template <typename Shape>
__device__ __forceinline__ void issue_queries(float (&d_q)[32], uint32_t d_scores, uint32_t keys) {
  using Product = Wgmma<typename Shape::Element, 64>;
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kKeys / 16; ++step) {
    Product::template ss<1, 1>(d_q, operand(d_scores + step * 16 * 128, 16),
                               operand(keys + step * 16 * 128, 16), step != 0);
  }
  matrix_commit();
}

/// One consumer warpgroup: who the thread is, and how far the work has come.
template <typename Shape>
struct KeyConsumer {
  int consumer, thread;  // thread of the warpgroup
  Place items, tiles;

  __device__ __forceinline__ int warp() const { return thread / 32; }
  __device__ __forceinline__ int lane() const { return thread % 32; }
  /// The first of this thread's two keys in the tile; the other is 8 further.
  __device__ __forceinline__ int key() const { return consumer * 64 + warp() * 16 + lane() / 4; }
  /// The first of this thread's rows of a query tile; more at + 1, + 8, + 9, + 16, …
  __device__ __forceinline__ int row() const { return 2 * (lane() % 4); }
};

/// Rows of the tile that may look at this thread's two keys, 32 rows a word.
template <typename Shape>
struct SeenRows {
  uint32_t words[2][Shape::kRows / 32];

  __device__ __forceinline__ void find(const heddle::cuda::DeviceColumns& mask,
                                       const ColumnBounds* bounds, int32_t key, int32_t row) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const MaskColumn column = mask_column(mask, bounds[8 * r], key + 8 * r);
#pragma unroll
      for (int i = 0; i < Shape::kRows / 32; ++i) {
        words[r][i] = visible_bits(column, row + 32 * i);
      }
    }
  }

  /// Selects: what is hidden may be NaN. `row` is the thread's first. A permutation of bytes that
  /// repeats their sign bits makes the mask of a pair of elements in one instruction.
  __device__ __forceinline__ void keep(Weights<Shape>& weights, int row) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int i = 0; i < Shape::kRows / 32; ++i) {
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
    constexpr float kLog2E = 1.44269504088896f;
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
                                                 float (&scores)[Shape::kRows / 2],
                                                 Weights<Shape>& weights, const float* lse,
                                                 int32_t row, int32_t key) {
  const BackwardOptions options(p, head);
  const float factor = p.scale * 1.44269504088896f;
#pragma unroll
  for (int j = 0; j < Shape::kRows / 8; ++j) {
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
__device__ __forceinline__ void to_score_gradients(const float (&p)[Shape::kRows / 2],
                                                   const float (&d_p)[Shape::kRows / 2],
                                                   Weights<Shape>& weights, const float* delta) {
#pragma unroll
  for (int j = 0; j < Shape::kRows / 8; ++j) {
    const float2 of_row = *reinterpret_cast<const float2*>(delta + 8 * j);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int i = 4 * j + 2 * r;
      weights[j / 2][2 * (j % 2) + r] = pack<typename Shape::Element>(
          p[i] * (d_p[i] - of_row.x), p[i + 1] * (d_p[i + 1] - of_row.y));
    }
  }
}

/// Writes this warp's 16 keys of dSᵀ to the tile [kRows / 64][keys][64].
template <typename Shape>
__device__ __forceinline__ void share_scores(uint32_t tile, const Weights<Shape>& weights, int key,
                                             int lane) {
  const int row = key + lane % 16;  // whose address this lane gives
#pragma unroll
  for (int step = 0; step < Shape::kRows / 16; ++step) {
    const int chunk = (2 * step + lane / 16) % 8;  // 16 bytes: 8 query rows
    store_matrices(tile + step / 4 * (Shape::kKeys * 128) + row * 128 + (chunk ^ (row % 8)) * 16,
                   weights[step]);
  }
}

/// Leaves this consumer's half of dQ of tile number `count` to its sender, in the order of the
/// registers.
template <typename Shape>
__device__ __forceinline__ void send_queries(BackwardShared<Shape>& shared,
                                             const KeyConsumer<Shape>& self, uint32_t count,
                                             const float (&d_q)[32]) {
  wait(shared.out_empty[self.consumer], count % 2 ^ 1);
  auto* to = reinterpret_cast<float4*>(shared.out[self.consumer]) + self.thread;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    to[j * 128] = make_float4(d_q[4 * j], d_q[4 * j + 1], d_q[4 * j + 2], d_q[4 * j + 3]);
  }
  fence_shared_async();
  release(shared.out_full[self.consumer]);
}

/// Leaves 64 keys of dK or dV to the sender, rounded.
template <typename Shape>
__device__ __forceinline__ void send_keys(BackwardShared<Shape>& shared,
                                          const KeyConsumer<Shape>& self, uint32_t count,
                                          const float (&sum)[Shape::kHeadDim / 2], float scale) {
  using Element = typename Shape::Element;
  wait(shared.out_empty[self.consumer], count % 2 ^ 1);
  const int row = self.warp() * 16 + self.lane() % 16;
  const uint32_t base = shared_address(shared.out[self.consumer]) + row * 128;
#pragma unroll
  for (int j = 0; j < Shape::kHeadDim / 8; j += 2) {
    const int chunk = (j + self.lane() / 16) % 8;
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = pack<Element>(sum[4 * j + 2 * i] * scale, sum[4 * j + 2 * i + 1] * scale);
    }
    store_matrices(base + (j / 8) * 64 * 128 + (chunk ^ (row % 8)) * 16, words);
  }
  fence_shared_async();
  release(shared.out_full[self.consumer]);
}

/// All live query tiles of one piece of work, `count` of them, at least one.
///
/// A product is always under way during the arithmetic: dP while P is made, dV while dS is made, dK
/// while dS goes to shared memory, and the next tile's scores while dQ does. No product whose result
/// is read may be under way from one round of the loop to the next, or the compiler serialises all:
/// so a round begins with dQ of the tile before, which in the first round means nothing.
template <typename Shape>
__device__ __forceinline__ void accumulate(const BackwardParams& p, BackwardShared<Shape>& shared,
                                           KeyConsumer<Shape>& self, int32_t count,
                                           float (&d_k)[Shape::kHeadDim / 2],
                                           float (&d_v)[Shape::kHeadDim / 2]) {
  const Problem& problem = p.launch.problem;
  const uint32_t own_keys = self.consumer * 64 * 128;
  // Of dQ a consumer owns 64 columns of tiles of 64 rows, and 64 rows of tiles of 128.
  const uint32_t own_half = self.consumer * Shape::kKeys * 128;
  const uint32_t d_q_keys = shared_address(shared.k) + (Shape::kRowBlocks == 1 ? own_half : 0);
  const uint32_t d_q_scores =
      shared_address(shared.d_scores[0]) + (Shape::kRowBlocks == 2 ? own_half : 0);
  constexpr uint32_t kScoreBytes = Shape::kKeys * Shape::kRows * 2;
  float d_q[32];

#pragma unroll 1
  for (int32_t i = 0; i < count; ++i, ++self.tiles.count) {
    const uint32_t slot = self.tiles.slot(), phase = self.tiles.phase();
    float scores[Shape::kRows / 2], d_p[Shape::kRows / 2];
    Weights<Shape> p_words, d_s_words;
    SeenRows<Shape> seen;

    issue_queries<Shape>(d_q, d_q_scores + (slot ^ 1) * kScoreBytes, d_q_keys);
    wait(shared.q_full[slot], phase);
    issue_scores<Shape>(scores, shared_address(shared.k) + own_keys,
                        shared_address(shared.q[slot]));
    matrix_wait<1>();
    pin(d_q);
    if (i > 0) {
      release(shared.q_empty[slot ^ 1]);
      release(shared.d_out_empty[slot ^ 1]);
      send_queries(shared, self, self.tiles.count - 1, d_q);
    }
    wait(shared.d_out_full[slot], phase);
    issue_scores<Shape>(d_p, shared_address(shared.v) + own_keys,
                        shared_address(shared.d_out[slot]));
    matrix_wait<1>();
    pin(scores);
    const QueryTile tile = shared.tile[slot];
    const int32_t first_row = tile.tile * Shape::kRows;
    const int32_t first_key = shared.work[self.items.slot()].tile * Shape::kKeys + self.key();
    to_probabilities<Shape>(problem, tile.head, scores, p_words, shared.lse[slot] + self.row(),
                            first_row + self.row(), first_key);
    const bool partial = uniform(tile.partial);
    if (partial) {
      seen.find(problem.mask, shared.bounds + self.key(), first_key, first_row);
      seen.keep(p_words, self.row());
    }
    issue_sum<Shape>(d_v, p_words, shared_address(shared.d_out[slot]));
    matrix_wait<1>();
    pin(d_p);
    to_score_gradients<Shape>(scores, d_p, d_s_words, shared.delta[slot] + self.row());
    if (partial) seen.keep(d_s_words, self.row());
    issue_sum<Shape>(d_k, d_s_words, shared_address(shared.q[slot]));
    share_scores<Shape>(shared_address(shared.d_scores[slot]), d_s_words,
                        self.consumer * 64 + self.warp() * 16, self.lane());
    fence_shared_async();
    named_sync(kScoresBarrier, 128 * Shape::kConsumers);
  }
  const uint32_t slot = self.tiles.slot() ^ 1;
  issue_queries<Shape>(d_q, d_q_scores + slot * kScoreBytes, d_q_keys);
  matrix_wait<0>();
  pin(d_q);
  pin(d_k);
  pin(d_v);
  release(shared.q_empty[slot]);
  release(shared.d_out_empty[slot]);
  send_queries(shared, self, self.tiles.count - 1, d_q);
}

/// One warpgroup: 64 keys of each piece of work.
template <typename Shape>
__device__ __forceinline__ void consume(const BackwardParams& p, BackwardShared<Shape>& shared,
                                        int consumer) {
  KeyConsumer<Shape> self{consumer, static_cast<int>(threadIdx.x % 128)};
  for (;; ++self.items.count) {
    const uint32_t slot = self.items.slot();
    wait(shared.work_full[slot], self.items.phase());
    const int32_t live = uniform(shared.work[slot].live);
    if (live < 0) break;
    float d_k[Shape::kHeadDim / 2] = {}, d_v[Shape::kHeadDim / 2] = {};
    wait(shared.kv_full, slot);
    if (live > 0) {
      const int32_t group = p.launch.problem.heads / p.launch.problem.kv_heads;
      accumulate<Shape>(p, shared, self, live * group, d_k, d_v);
    }
    release(shared.kv_empty);
    release(shared.work_empty[slot]);
    send_keys(shared, self, self.tiles.count, d_v, 1);
    send_keys(shared, self, self.tiles.count + 1, d_k, p.launch.problem.scale);
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    backward_kernel(const __grid_constant__ BackwardParams p) {
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<BackwardShared<Shape>*>(raw);
  if (threadIdx.x == 0) {
    prefetch(p.q);
    prefetch(p.d_out);
    prefetch(p.k);
    prefetch(p.v);
    prefetch(p.d_k);
    prefetch(p.d_v);
    init_barriers(shared);
  }
  __syncthreads();

  const int warpgroup = threadIdx.x / 128;
  if (warpgroup == 0) {
    give_registers<Shape::kProducerRegisters>();
    const int warp = threadIdx.x / 32;
    if (warp == 0) {
      produce<Shape>(p, shared);
    } else if (warp <= Shape::kConsumers && threadIdx.x % 32 == 0) {
      send<Shape>(p, shared, warp - 1);
    }
  } else {
    take_registers<Shape::kConsumerRegisters>();
    consume<Shape>(p, shared, warpgroup - 1);
  }
}

}  // namespace heddle::attention::cuda::sm90
