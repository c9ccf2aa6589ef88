// The consumers of the backward kernel: see backward.cuh. All products of one query tile, and how
// they overlap with the arithmetic between them.
#pragma once

#include "heddle/attention/cuda/sm90/backward.cuh"
#include "heddle/attention/cuda/sm90/backward_scores.cuh"

namespace heddle::attention::cuda::sm90 {

/// Issues result[64 keys × 64 rows] = keys[64 × E] · rows[64 × E]ᵀ.
template <typename Shape>
__device__ __forceinline__ void issue_scores(float (&result)[32], uint32_t keys, uint32_t rows) {
  using Product = Wgmma<typename Shape::Element, 64>;
  const uint64_t a = operand(keys, 16), b = operand(rows, 16);
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kHeadDim / 16; ++step) {
    const int block = step / 4, within = (step % 4) * 32;  // 16 columns are 32 bytes
    Product::template ss<0, 0>(result, advance(a, block * Shape::kKeys * 128 + within),
                               advance(b, block * Shape::kRows * 128 + within), step != 0);
  }
  matrix_commit();
}

/// Issues sum[64 keys × E] += weights[64 keys × 64 rows] · rows[64 × E].
template <typename Shape>
__device__ __forceinline__ void issue_sum(float (&sum)[Shape::kHeadDim / 2], const Weights& weights,
                                          uint32_t rows) {
  using Product = Wgmma<typename Shape::Element, Shape::kHeadDim>;
  const uint64_t b = operand(rows, Shape::kRows * 128);
  matrix_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    Product::template rs<1>(sum, weights[step], advance(b, step * 16 * 128), 1);
  }
  matrix_commit();
}

/// Issues this consumer's half of dQ: 64 rows × 64 columns of dS[rows × keys] · K[keys × E].
template <typename Shape>
__device__ __forceinline__ void issue_queries(float (&d_q)[32], uint32_t d_scores, uint32_t keys) {
  using Product = Wgmma<typename Shape::Element, 64>;
  const uint64_t a = operand(d_scores, 16), b = operand(keys, 16);
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kKeys / 16; ++step) {
    Product::template ss<1, 1>(d_q, advance(a, step * 16 * 128), advance(b, step * 16 * 128),
                               step != 0);
  }
  matrix_commit();
}

/// Writes this warp's 16 keys × 64 rows of dSᵀ to a tile [keys][64].
__device__ __forceinline__ void share_scores(uint32_t tile, const Weights& weights) {
  const Consumer self = Consumer::fresh();
  const int row = self.consumer * 64 + self.warp() * 16 + self.lane() % 16;  // this lane's address
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const int chunk = 2 * step + self.lane() / 16;  // 16 bytes: 8 query rows
    store_matrices(tile + row * 128 + (chunk ^ (row % 8)) * 16, weights[step]);
  }
}

/// Leaves this consumer's half of dQ to its sender, in the order of the registers; `sent` is how
/// often `out` was used before.
template <typename Shape>
__device__ __forceinline__ void send_queries(BackwardShared<Shape>& shared, uint32_t sent,
                                             const float (&d_q)[32]) {
  const Consumer self = Consumer::fresh();
  wait(shared.out_empty[self.consumer], sent % 2 ^ 1);
  auto* to = reinterpret_cast<float4*>(shared.out[self.consumer]) + self.thread;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    to[j * 128] = make_float4(d_q[4 * j], d_q[4 * j + 1], d_q[4 * j + 2], d_q[4 * j + 3]);
  }
  fence_shared_async();
  release(shared.out_full[self.consumer]);
}

/// Writes 64 keys of dK or dV, rounded, to a tile of kTokens tokens, from this warp's row `first`
/// on.
template <typename Shape, int kTokens>
__device__ __forceinline__ void write_keys(uint32_t tile, const float (&sum)[Shape::kHeadDim / 2],
                                           float scale) {
  using Element = typename Shape::Element;
  const Consumer self = Consumer::fresh();
  const int row = self.warp() * 16 + self.lane() % 16;
  const uint32_t base = tile + row * 128;
#pragma unroll
  for (int j = 0; j < Shape::kHeadDim / 8; j += 2) {
    const int chunk = (j + self.lane() / 16) % 8;
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = pack<Element>(sum[4 * j + 2 * i] * scale, sum[4 * j + 2 * i + 1] * scale);
    }
    store_matrices(base + (j / 8) * (kTokens * 128) + (chunk ^ (row % 8)) * 16, words);
  }
  fence_shared_async();
}

/// Where the products of one consumer find their operands.
template <typename Shape>
struct Operands {
  uint32_t base, consumer;

  /// The compiler must know that all lanes hold the same address: it then adds to it in the uniform
  /// registers that the products read, in place of moving every address there.
  __device__ __forceinline__ explicit Operands(BackwardShared<Shape>& shared)
      : base(shared_address(&shared)), consumer(uniform(static_cast<int>(threadIdx.x / 128)) - 1) {}

  using Shared = BackwardShared<Shape>;
  static constexpr uint32_t kTileBytes = Shape::kRowBytes;
  static constexpr uint32_t kBlockBytes = Shape::kKeys * 128;

  /// Of S and dP: this consumer's 64 keys, and 64 rows of a query tile.
  __device__ __forceinline__ uint32_t keys() const {
    return base + uint32_t{offsetof(Shared, k)} + consumer * (64 * 128);
  }
  __device__ __forceinline__ uint32_t values() const {
    return base + uint32_t{offsetof(Shared, v)} + consumer * (64 * 128);
  }
  __device__ __forceinline__ uint32_t queries(uint32_t slot, int block) const {
    return base + uint32_t{offsetof(Shared, q)} + slot * kTileBytes + block * (64 * 128);
  }
  __device__ __forceinline__ uint32_t d_out(uint32_t slot, int block) const {
    return base + uint32_t{offsetof(Shared, d_out)} + slot * kTileBytes + block * (64 * 128);
  }
  /// Of dQ a consumer owns 64 columns of tiles of 64 rows, and 64 rows of tiles of 128.
  __device__ __forceinline__ uint32_t d_scores(uint32_t slot) const {
    return base + uint32_t{offsetof(Shared, d_scores)} + slot * (Shape::kRowBlocks * kBlockBytes) +
           (Shape::kRowBlocks == 2 ? consumer * kBlockBytes : 0);
  }
  __device__ __forceinline__ uint32_t d_q_keys() const {
    return base + uint32_t{offsetof(Shared, k)} +
           (Shape::kRowBlocks == 1 ? consumer * kBlockBytes : 0);
  }
};

/// Where a thread stands: 64 rows of one query tile, from the block's `block` on.
struct Rows64 {
  QueryTile tile;
  int32_t first_row, first_key;  // of the 64, and of this thread
  SeenRows seen;
};

/// Scores, which the caller has waited for, to P; issues what it adds to dV.
template <typename Shape>
__device__ __forceinline__ void add_values(const BackwardParams& p, BackwardShared<Shape>& shared,
                                           uint32_t item_slot, uint32_t stage, int block,
                                           Rows64& rows, Weights& words, float (&scores)[32],
                                           float (&d_v)[Shape::kHeadDim / 2]) {
  pin(scores);
  const Consumer self = Consumer::fresh();
  rows.tile = shared.tile[stage];
  rows.first_row = rows.tile.tile * Shape::kRows + block * 64;
  rows.first_key = shared.work[item_slot].tile * Shape::kKeys + self.key();
  to_probabilities<Shape>(p.launch.problem, rows.tile.head, scores, words,
                          shared.lse[stage] + block * 64 + self.row(), rows.first_row + self.row(),
                          rows.first_key);
  if (uniform(rows.tile.partial)) {
    rows.seen.find(p.launch.problem.mask, shared.bounds + self.key(), rows.first_key,
                   rows.first_row);
    rows.seen.keep(words, self.row());
  }
  issue_sum<Shape>(d_v, words, Operands<Shape>(shared).d_out(stage, block));
}

/// P and dP, which the caller has waited for, to dS; issues what it adds to dK.
template <typename Shape>
__device__ __forceinline__ void add_keys(BackwardShared<Shape>& shared, uint32_t stage, int block,
                                         const Rows64& rows, Weights& words,
                                         const float (&scores)[32], float (&d_p)[32],
                                         float (&d_k)[Shape::kHeadDim / 2]) {
  pin(d_p);
  const Consumer self = Consumer::fresh();
  to_score_gradients<Shape>(scores, d_p, words, shared.delta[stage] + block * 64 + self.row());
  if (uniform(rows.tile.partial)) rows.seen.keep(words, self.row());
  issue_sum<Shape>(d_k, words, Operands<Shape>(shared).queries(stage, block));
}

template <typename Shape>
__device__ __forceinline__ void share_block(BackwardShared<Shape>& shared, uint32_t slot, int block,
                                            const Weights& words) {
  share_scores(shared_address(shared.d_scores[slot] + block * (Shape::kKeys * 64)), words);
}

/// All live query tiles of one piece of work, `count` of them, at least one.
///
/// Products are always under way during the arithmetic: dP while P is made, with two blocks of rows
/// dV and the next scores while dS is made, dK while dS goes to shared memory, the scores and dP
/// while dQ does. No product whose result is read may be under way from one round of the loop to
/// the next, or the compiler serialises all; so a round begins with dQ of two tiles before, and in
/// the first two rounds its result means nothing.
template <typename Shape>
__device__ __forceinline__ void accumulate(const BackwardParams& p, BackwardShared<Shape>& shared,
                                           const Place<>& items, Place<>& tiles, int32_t count,
                                           float (&d_k)[Shape::kHeadDim / 2],
                                           float (&d_v)[Shape::kHeadDim / 2]) {
  constexpr bool kTwo = Shape::kRowBlocks == 2;
  wait(shared.v_full, items.slot());
#pragma unroll 1
  for (int32_t i = 0; i < count; ++i, ++tiles.count) {
    const uint32_t slot = tiles.slot(), phase = tiles.phase();  // of dS
    const Place<Shape::kStages> stages{tiles.count}, before{tiles.count - 1};
    const uint32_t stage = stages.slot();
    float d_q[32], scores[32], d_p[32], more_scores[32], more_d_p[32];
    Weights p_words, d_s_words, more_p_words, more_d_s_words;
    Rows64 rows, more_rows;
    const Operands<Shape> at(shared);
    if (i >= 2) wait(shared.scores_full[slot], phase ^ 1);
    issue_queries<Shape>(d_q, at.d_scores(slot), at.d_q_keys());
    wait(shared.q_full[stage], stages.phase());
    issue_scores<Shape>(scores, at.keys(), at.queries(stage, 0));
    if constexpr (Shape::kEarly) {
      wait(shared.d_out_full[stage], stages.phase());
      issue_scores<Shape>(d_p, at.values(), at.d_out(stage, 0));
    }
    matrix_wait<Shape::kEarly ? 2 : 1>();
    pin(d_q);
    if (i >= 1) {
      release(shared.q_empty[before.slot()]);
      release(shared.d_out_empty[before.slot()]);
    }
    if (i >= 2) {
      release(shared.scores_empty[slot]);
      send_queries(shared, tiles.count - 2 + items.count, d_q);
    }
    if constexpr (!Shape::kEarly) {
      wait(shared.d_out_full[stage], stages.phase());
      issue_scores<Shape>(d_p, at.values(), at.d_out(stage, 0));
    }
    matrix_wait<1>();
    add_values<Shape>(p, shared, items.slot(), stage, 0, rows, p_words, scores, d_v);
    if constexpr (kTwo) issue_scores<Shape>(more_scores, at.keys(), at.queries(stage, 1));
    matrix_wait<kTwo ? 2 : 0>();
    add_keys<Shape>(shared, stage, 0, rows, d_s_words, scores, d_p, d_k);
    if constexpr (kTwo) issue_scores<Shape>(more_d_p, at.values(), at.d_out(stage, 1));
    wait(shared.scores_empty[slot], phase ^ 1);
    share_block(shared, slot, 0, d_s_words);
    if constexpr (kTwo) {
      matrix_wait<2>();
      add_values<Shape>(p, shared, items.slot(), stage, 1, more_rows, more_p_words, more_scores,
                        d_v);
      matrix_wait<1>();
      add_keys<Shape>(shared, stage, 1, more_rows, more_d_s_words, more_scores, more_d_p, d_k);
      share_block(shared, slot, 1, more_d_s_words);
    }
    fence_shared_async();
    release(shared.scores_full[slot]);
  }
}

/// dQ of the last two tiles, or the only one; dV to the sender before them.
template <typename Shape>
__device__ __forceinline__ void finish(BackwardShared<Shape>& shared, const Place<>& items,
                                       const Place<>& tiles, int32_t count,
                                       float (&d_k)[Shape::kHeadDim / 2],
                                       float (&d_v)[Shape::kHeadDim / 2]) {
  const Operands<Shape> at(shared);
  const uint32_t slot = tiles.slot(), phase = tiles.phase();
  const Place<Shape::kStages> before{tiles.count - 1};
  float d_q[32], last_d_q[32];
  if (count >= 2) wait(shared.scores_full[slot], phase ^ 1);
  issue_queries<Shape>(d_q, at.d_scores(slot), at.d_q_keys());
  wait(shared.scores_full[slot ^ 1], slot == 0 ? phase ^ 1 : phase);
  issue_queries<Shape>(last_d_q, at.d_scores(slot ^ 1), at.d_q_keys());
  matrix_wait<0>();
  pin(d_q);
  pin(last_d_q);
  pin(d_k);
  pin(d_v);
  release(shared.q_empty[before.slot()]);
  release(shared.d_out_empty[before.slot()]);
  release(shared.scores_empty[slot ^ 1]);
  release(shared.k_empty);
  if (count >= 2) {
    release(shared.scores_empty[slot]);
    send_queries(shared, tiles.count - 2 + items.count, d_q);
  }
  send_queries(shared, tiles.count - 1 + items.count, last_d_q);
}

/// One warpgroup: 64 keys of each piece of work.
template <typename Shape>
__device__ __forceinline__ void consume(const BackwardParams& p, BackwardShared<Shape>& shared) {
  Place<> items, tiles;
  for (;; ++items.count) {
    const uint32_t slot = items.slot();
    wait(shared.work_full[slot], items.phase());
    const int32_t live = uniform(shared.work[slot].live);
    if (live < 0) break;
    float d_k[Shape::kHeadDim / 2] = {}, d_v[Shape::kHeadDim / 2] = {};
    wait(shared.k_full, slot);
    if (live > 0) {
      const int32_t count = live * (p.launch.problem.heads / p.launch.problem.kv_heads);
      accumulate<Shape>(p, shared, items, tiles, count, d_k, d_v);
      finish<Shape>(shared, items, tiles, count, d_k, d_v);
    } else {
      wait(shared.v_full, slot);
      release(shared.k_empty);
    }
    release(shared.work_empty[slot]);
    const int consumer = Consumer::fresh().consumer;
    write_keys<Shape, Shape::kKeys>(Operands<Shape>(shared).values(), d_v, 1);
    release(shared.d_v_full[consumer]);
    wait(shared.out_empty[consumer], (tiles.count + items.count) % 2 ^ 1);
    write_keys<Shape, 64>(shared_address(shared.out[consumer]), d_k, p.launch.problem.scale);
    release(shared.out_full[consumer]);
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
    if (warp == 3) {
      plan_tiles<Shape>(p, shared);
    } else if (threadIdx.x % 32 == 0) {
      if (warp == 0) {
        load<Shape>(p, shared);
      } else {
        send<Shape>(p, shared, warp - 1);
      }
    }
  } else {
    take_registers<Shape::kConsumerRegisters>();
    consume<Shape>(p, shared);
  }
}

}  // namespace heddle::attention::cuda::sm90
