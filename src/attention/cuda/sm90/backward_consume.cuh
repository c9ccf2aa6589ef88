// The consumers of the backward kernel: see backward.cuh. All products of one query tile, and how
// they overlap with the arithmetic between them.
#pragma once

#include "heddle/attention/cuda/sm90/backward_products.cuh"

namespace heddle::attention::cuda::sm90 {

/// Writes this warp's 16 keys × 64 rows of dSᵀ to a tile [keys][64]; half of the rows where the
/// other consumer has the same.
template <typename Shape>
__device__ __forceinline__ void share_scores(uint32_t tile, const Weights& weights) {
  const Consumer self = Consumer::fresh();
  const int row = (Shape::kSplitColumns ? 0 : self.consumer * 64) + self.warp() * 16 +
                  self.lane() % 16;  // this lane's address
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    if (Shape::kSplitColumns && step / 2 != self.consumer) continue;
    const int chunk = 2 * step + self.lane() / 16;  // 16 bytes: 8 query rows
    store_matrices(tile + row * 128 + (chunk ^ (row % 8)) * 16, weights[step]);
  }
}

/// Adds a part of this consumer's dQ, of query tile `tile`, to the sums, or leaves it to the
/// sender; in the order of the registers. `use`: how often `out` was used before.
template <typename Shape>
__device__ __forceinline__ void send_queries(const BackwardParams& p, BackwardShared<Shape>& shared,
                                             const Work& work, uint32_t tile, uint32_t use,
                                             const float (&d_q)[32], int part = 0) {
  const Consumer self = Consumer::fresh();
  if constexpr (Shape::kDirect) {
    const int64_t at = sums_at(p, work.batch, shared.tile[tile % Shape::kTileSlots]) * 2;
    float* const to = p.launch.d_q_sum +
                      ((at + self.consumer) * Shape::kQueryParts + part) * (64 * 64) +
                      self.thread * 4;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      add_four(to + j * 512, d_q[4 * j], d_q[4 * j + 1], d_q[4 * j + 2], d_q[4 * j + 3]);
    }
  } else {
    wait(shared.out_empty[self.consumer], use % 2 ^ 1);
    auto* to = reinterpret_cast<float4*>(shared.out[self.consumer]) + self.thread;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      to[j * 128] = make_float4(d_q[4 * j], d_q[4 * j + 1], d_q[4 * j + 2], d_q[4 * j + 3]);
    }
    release(shared.out_full[self.consumer]);
  }
}

/// Writes 64 keys × 64 columns of dK or dV, rounded, to shared memory.
template <typename Shape>
__device__ __forceinline__ void write_block(uint32_t to, const Sum<Shape>& sum, int block,
                                            float scale) {
  using Element = typename Shape::Element;
  const Consumer self = Consumer::fresh();
  const int row = self.warp() * 16 + self.lane() % 16;
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    const int chunk = j + self.lane() / 16;
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = block * 32 + 4 * j + 2 * i;
      words[i] = pack<Element>(sum[at] * scale, sum[at + 1] * scale);
    }
    store_matrices(to + row * 128 + (chunk ^ (row % 8)) * 16, words);
  }
}

/// Where a thread stands, 64 rows of one query tile from the block's `block` on, and their P.
struct Rows64 {
  QueryTile tile;
  int32_t first_row, first_key;  // of the 64, and of this thread
  SeenRows seen;
  Weights p, gains;  // gains with options only
};

/// Scores, which the caller has waited for, to P; issues what it adds to dV.
template <typename Shape>
__device__ __forceinline__ void add_values(const BackwardParams& p, BackwardShared<Shape>& shared,
                                           uint32_t item_slot, uint32_t tile, int block,
                                           Rows64& rows, float (&scores)[32], Sum<Shape>& d_v) {
  pin(scores);
  const Consumer self = Consumer::fresh();
  rows.tile = shared.tile[tile % Shape::kTileSlots];
  const uint32_t stage = tile % Shape::kStages;
  rows.first_row = rows.tile.tile * Shape::kRows + block * 64;
  rows.first_key = shared.work[item_slot].tile * Shape::kKeys + self.key<Shape>();
  using Element = typename Shape::Element;
  const float* lse = shared.lse[stage] + block * 64 + self.row();
  if constexpr (Shape::kOptions) {
    apply_backward_options<Element>(p.launch.problem, rows.tile.head, scores, rows.p, rows.gains,
                                    lse, rows.first_row + self.row(), rows.first_key);
  } else {
    to_probabilities<Element>(p.launch.problem.scale * kLog2E, scores, rows.p, lse);
  }
  if (uniform(rows.tile.partial)) {
    rows.seen.find(p.launch.problem.mask, shared.bounds + self.key<Shape>(), rows.first_key,
                   rows.first_row);
    rows.seen.keep(rows.p, self.row());
  }
  const Operands<Shape> at(shared);
  issue_sum<Shape>(d_v, rows.p, at.d_out(stage, block) + at.columns());
}

/// P and dP, which the caller has waited for, to dS; issues what it adds to dK.
template <typename Shape>
__device__ __forceinline__ void add_keys(BackwardShared<Shape>& shared, uint32_t stage, int block,
                                         const Rows64& rows, Weights& words, float (&d_p)[32],
                                         Sum<Shape>& d_k) {
  pin(d_p);
  const Consumer self = Consumer::fresh();
  to_score_gradients<typename Shape::Element>(Shape::kOptions ? rows.gains : rows.p, d_p, words,
                                              shared.delta[stage] + block * 64 + self.row());
  if (uniform(rows.tile.partial)) rows.seen.keep(words, self.row());
  const Operands<Shape> at(shared);
  issue_sum<Shape>(d_k, words, at.queries(stage, block) + at.columns());
}

/// How often a consumer's `out` was used before query tile `tile` of piece of work `item`.
template <typename Shape>
__device__ __forceinline__ uint32_t out_use(uint32_t item, uint32_t tile) {
  return Shape::kTileUses * tile + Shape::kKeyUses * item;
}

template <typename Shape>
__device__ __forceinline__ void share_block(BackwardShared<Shape>& shared, uint32_t slot, int block,
                                            const Weights& words) {
  share_scores<Shape>(shared_address(shared.d_scores[slot] + block * (Shape::kKeys * 64)), words);
}

/// All live query tiles of one piece of work, `count` of them, at least one.
///
/// Products are always under way during the arithmetic: dP while P is made, dV (and with two blocks
/// of rows the next scores) while dS is made, dK while dS goes to shared memory, the scores while
/// dQ is sent. No product whose result is read may be under way from one round of the loop to the
/// next, or the compiler serialises all; so a round begins with dQ of two tiles before, and in the
/// first two rounds its result means nothing.
template <typename Shape>
__device__ __forceinline__ void accumulate(const BackwardParams& p, BackwardShared<Shape>& shared,
                                           const Place<>& items, Place<>& tiles, int32_t count,
                                           Sum<Shape>& d_k, Sum<Shape>& d_v) {
  constexpr bool kTwo = Shape::kRowBlocks == 2;
  const Keys<Shape> keys(Operands<Shape>(shared).keys());
  wait(shared.v_full, items.slot());
  const Keys<Shape> values(Operands<Shape>(shared).values());
  if constexpr (Shape::kKeysInRegisters) release(shared.v_empty);
#pragma unroll 1
  for (int32_t i = 0; i < count; ++i, ++tiles.count) {
    const uint32_t slot = tiles.slot(), phase = tiles.phase();  // of dS
    const Place<Shape::kStages> stages{tiles.count}, before{tiles.count - 1};
    const uint32_t stage = stages.slot();
    float d_q[32], scores[32], d_p[32], more_scores[32], more_d_p[32];
    Weights d_s, more_d_s;
    Rows64 rows, more_rows;
    const Operands<Shape> at(shared);
    if (i >= 2) wait(shared.scores_full[slot], phase ^ 1);
    fence_shared_async();
    issue_queries<Shape>(d_q, at.d_scores(slot), at.d_q_keys());
    wait(shared.q_full[stage], stages.phase());
    issue_scores<Shape>(scores, keys, at.queries(stage, 0));
    if constexpr (Shape::kEarly) {
      wait(shared.d_out_full[stage], stages.phase());
      issue_scores<Shape>(d_p, values, at.d_out(stage, 0));
    }
    matrix_wait<Shape::kEarly ? 2 : 1>();
    pin(d_q);
    if (i >= 1) {
      release(shared.q_empty[before.slot()]);
      release(shared.d_out_empty[before.slot()]);
    }
    const Work& work = shared.work[items.slot()];
    const uint32_t use = out_use<Shape>(items.count, tiles.count - 2);
    if constexpr (Shape::kQueryParts == 2) {
      if (i >= 2) send_queries(p, shared, work, tiles.count - 2, use, d_q);
      issue_queries<Shape>(d_q, at.d_scores(slot), at.d_q_keys(1));
      matrix_wait<0>();
      pin(d_q);
    }
    if (i >= 2) {
      release(shared.scores_empty[slot]);
      send_queries(p, shared, work, tiles.count - 2, use, d_q, Shape::kQueryParts - 1);
    }
    if constexpr (!Shape::kEarly) {
      wait(shared.d_out_full[stage], stages.phase());
      issue_scores<Shape>(d_p, values, at.d_out(stage, 0));
    }
    matrix_wait<1>();
    add_values<Shape>(p, shared, items.slot(), tiles.count, 0, rows, scores, d_v);
    if constexpr (kTwo) issue_scores<Shape>(more_scores, keys, at.queries(stage, 1));
    matrix_wait<kTwo ? 2 : Shape::kOptions ? 0 : 1>();  // the options leave no registers for dV
    if (!Shape::kKeysInRegisters && i == count - 1) release(shared.v_empty);
    add_keys<Shape>(shared, stage, 0, rows, d_s, d_p, d_k);
    if constexpr (kTwo) issue_scores<Shape>(more_d_p, values, at.d_out(stage, 1));
    wait(shared.scores_empty[slot], phase ^ 1);
    share_block(shared, slot, 0, d_s);
    matrix_wait<kTwo ? 2 : 1>();
    if constexpr (kTwo) {
      add_values<Shape>(p, shared, items.slot(), tiles.count, 1, more_rows, more_scores, d_v);
      matrix_wait<1>();
      add_keys<Shape>(shared, stage, 1, more_rows, more_d_s, more_d_p, d_k);
      share_block(shared, slot, 1, more_d_s);
      matrix_wait<1>();
    }
    release(shared.scores_full[slot]);
  }
}

/// dQ of the last two tiles, or the only one.
template <typename Shape>
__device__ __forceinline__ void finish(const BackwardParams& p, BackwardShared<Shape>& shared,
                                       const Place<>& items, const Place<>& tiles, int32_t count,
                                       Sum<Shape>& d_k, Sum<Shape>& d_v) {
  const Operands<Shape> at(shared);
  const uint32_t slot = tiles.slot(), phase = tiles.phase();
  const Place<Shape::kStages> before{tiles.count - 1};
  const Work& work = shared.work[items.slot()];
  float d_q[32], last_d_q[32];
  if (count >= 2) wait(shared.scores_full[slot], phase ^ 1);
  wait(shared.scores_full[slot ^ 1], slot == 0 ? phase ^ 1 : phase);
  fence_shared_async();
#pragma unroll
  for (int part = 0; part < Shape::kQueryParts; ++part) {
    issue_queries<Shape>(d_q, at.d_scores(slot), at.d_q_keys(part));
    issue_queries<Shape>(last_d_q, at.d_scores(slot ^ 1), at.d_q_keys(part));
    matrix_wait<0>();
    pin(d_q);
    pin(last_d_q);
    if (part + 1 == Shape::kQueryParts) {
      pin(d_k);
      pin(d_v);
      release(shared.k_empty);
      release(shared.q_empty[before.slot()]);
      release(shared.d_out_empty[before.slot()]);
      release(shared.scores_empty[slot ^ 1]);
      if (count >= 2) release(shared.scores_empty[slot]);
    }
    if (count >= 2) {
      send_queries(p, shared, work, tiles.count - 2, out_use<Shape>(items.count, tiles.count - 2),
                   d_q, part);
    }
    send_queries(p, shared, work, tiles.count - 1, out_use<Shape>(items.count, tiles.count - 1),
                 last_d_q, part);
  }
}

/// Leaves dV and dK to the sender.
template <typename Shape>
__device__ __forceinline__ void send_keys(const BackwardParams& p, BackwardShared<Shape>& shared,
                                          uint32_t use, const Sum<Shape>& d_k,
                                          const Sum<Shape>& d_v) {
  constexpr int kBlocks = Shape::kColumns / 64;
  const int consumer = Consumer::fresh().consumer;
  const uint32_t out = shared_address(shared.out[consumer]);
#pragma unroll
  for (int block = 0; block < 2 * kBlocks; block += Shape::kOutBlocks, ++use) {
    wait(shared.out_empty[consumer], use % 2 ^ 1);
#pragma unroll
    for (int i = 0; i < Shape::kOutBlocks; ++i) {
      const bool keys = block + i >= kBlocks;
      write_block<Shape>(out + i * 64 * 128, keys ? d_k : d_v, (block + i) % kBlocks,
                         keys ? p.launch.problem.scale : 1);
    }
    fence_shared_async();
    release(shared.out_full[consumer]);
  }
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
    Sum<Shape> d_k = {}, d_v = {};
    wait(shared.k_full, slot);
    if (live > 0) {
      const int32_t count = live * p.group;
      accumulate<Shape>(p, shared, items, tiles, count, d_k, d_v);
      finish<Shape>(p, shared, items, tiles, count, d_k, d_v);
    } else {
      wait(shared.v_full, slot);
      release(shared.k_empty);
      release(shared.v_empty);
    }
    release(shared.work_empty[slot]);
    send_keys<Shape>(p, shared, out_use<Shape>(items.count, tiles.count), d_k, d_v);
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
