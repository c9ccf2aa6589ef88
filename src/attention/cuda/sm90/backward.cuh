// Backward attention on Hopper: one persistent block owns one tile of keys at a time and visits the
// query tiles that the mask leaves alive, for each query head of the group.
//
//   Sᵀ = K·Qᵀ   Pᵀ = exp(c·Sᵀ − lse)   dPᵀ = V·dOᵀ   dSᵀ = Pᵀ ∘ (dPᵀ − Δ)     [keys, rows]
//   dV += Pᵀ·dO   dK += dSᵀ·Q   in registers;   dQ += dS·K   added to f32 sums in memory
//
// Warpgroup 0 produces: warp 3 claims work and lists its query tiles, warp 0 copies them in, warps
// 1 and 2 send out what a consumer each leaves in shared memory. Two warpgroups consume, 64 keys
// each; Pᵀ and dSᵀ go from the registers of one product into those of the next, and only dSᵀ also
// passes through shared memory, as dQ needs it from both: two tiles later, so that the consumers
// need not keep step. FlashAttention-3, arXiv 2407.08608. A tile of n tokens in shared memory is [E
// / 64][n][64] under the 128-byte swizzle.
#pragma once

#include "heddle/attention/cuda/sm90/backward.h"
#include "heddle/attention/cuda/sm90/ptx.cuh"
#include "heddle/attention/cuda/sm90/wgmma.cuh"
#include "heddle/attention/cuda/sm90/work.cuh"

namespace heddle::attention::cuda::sm90 {

using heddle::cuda::ColumnBounds;

/// What a backward kernel is compiled for. kOptions: soft-cap and ALiBi.
template <typename Element_, int kHeadDim_, bool kOptions_>
struct BackwardShape {
  using Element = Element_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kBlocks = kHeadDim / 64;  // of 64 columns: one swizzled row
  static constexpr bool kOptions = kOptions_;
  static constexpr int kConsumers = 2;
  static constexpr int kKeys = kBackwardKeys;
  static constexpr int kRows = backward_rows(kHeadDim);
  static constexpr int kRowBlocks = kRows / 64;
  static constexpr int kStages = 2;     // query tiles in flight
  static constexpr int kPlanSlots = 8;  // tiles that the planner is ahead of the senders, at most
  static constexpr bool kEarly = kHeadDim == 64;  // issue dP before dQ is sent
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kRowBytes = kRows * kHeadDim * 2;
  static constexpr int kKeyBytes = kKeys * kHeadDim * 2;
  // Registers a thread: the sum over the warpgroups must not pass what the launch gives them.
  static constexpr int kProducerRegisters = kHeadDim == 64 ? 40 : 24;
  static constexpr int kConsumerRegisters = kHeadDim == 64 ? 232 : 240;
  static_assert(kRows * kHeadDim == 2 * 64 * 64);  // dQ of a tile is one product a consumer
};

/// One query tile of one head.
struct QueryTile {
  int32_t tile, head;
  bool partial;
};

template <typename Shape>
struct __align__(1024) BackwardShared {
  using Element = typename Shape::Element;
  Element k[Shape::kKeys * Shape::kHeadDim];
  Element v[Shape::kKeys * Shape::kHeadDim];
  Element q[Shape::kStages][Shape::kRows * Shape::kHeadDim];
  Element d_out[Shape::kStages][Shape::kRows * Shape::kHeadDim];
  Element d_scores[2][Shape::kKeys * Shape::kRows];  // [kRows / 64][keys][64], swizzled
  float out[Shape::kConsumers][64 * 64];             // half of dQ, or 64 keys of dK or dV
  alignas(16) float lse[Shape::kStages][Shape::kRows];
  alignas(16) float delta[Shape::kStages][Shape::kRows];
  ColumnBounds bounds[Shape::kKeys];
  QueryTile plan[Shape::kPlanSlots];
  QueryTile tile[Shape::kStages];
  Work work[2];
  Barrier work_full[2], work_empty[2], k_full, k_empty, v_full, v_empty;
  Barrier plan_full[Shape::kPlanSlots], plan_empty[Shape::kPlanSlots];
  Barrier q_full[Shape::kStages], q_empty[Shape::kStages];
  Barrier scores_full[2], scores_empty[2];
  Barrier d_out_full[Shape::kStages], d_out_empty[Shape::kStages];
  Barrier out_full[Shape::kConsumers], out_empty[Shape::kConsumers];
  Barrier d_v_full[Shape::kConsumers];
};

template <typename Shape>
__device__ __forceinline__ void init_barriers(BackwardShared<Shape>& shared) {
  constexpr int kWarps = 4 * Shape::kConsumers;  // a reader that is done arrives once a warp
  for (int i = 0; i < 2; ++i) {
    init(shared.work_full[i], 1);
    init(shared.work_empty[i], kWarps + Shape::kConsumers + 1);
    init(shared.scores_full[i], kWarps);
    init(shared.scores_empty[i], kWarps);
  }
  init(shared.k_full, 1);
  init(shared.k_empty, kWarps);
  init(shared.v_full, 1);
  init(shared.v_empty, Shape::kConsumers);
  for (int i = 0; i < Shape::kPlanSlots; ++i) {
    init(shared.plan_full[i], 1);
    init(shared.plan_empty[i], Shape::kConsumers + 1);
  }
  for (int i = 0; i < Shape::kStages; ++i) {
    init(shared.q_full[i], 1);
    init(shared.q_empty[i], kWarps);
    init(shared.d_out_full[i], 1);
    init(shared.d_out_empty[i], kWarps);
  }
  for (int i = 0; i < Shape::kConsumers; ++i) {
    init(shared.out_full[i], 4);
    init(shared.out_empty[i], 1);
    init(shared.d_v_full[i], 4);
  }
  fence_barrier_init();
}

/// Counters tell every ring's place: of the block's pieces of work, and of their query tiles. A
/// reader waits for parity `phase` of the slot's "full" barrier, a writer for the other of its
/// "empty" one.
template <uint32_t kSlots = 2>
struct Place {
  uint32_t count = 0;

  __device__ __forceinline__ uint32_t slot() const { return count % kSlots; }
  __device__ __forceinline__ uint32_t phase() const { return count / kSlots % 2; }
};

/// Arrives for the warp, after all its lanes have come here.
__device__ __forceinline__ void release(Barrier& barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(barrier);
}

/// One thread: a tile of kTokens tokens × E columns.
template <int kTokens, int kBlocks, typename Element>
__device__ __forceinline__ void load_columns(Element* to, const CUtensorMap& map, Coordinates at,
                                             Barrier& full, Keep keep) {
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    at.column = block * 64;
    load_tile(to + block * kTokens * 64, map, at, full, keep);
  }
}

/// One thread: the keys of a piece of work and the bounds of its columns, then the values.
template <typename Shape>
__device__ __forceinline__ void load_keys(const BackwardParams& p, BackwardShared<Shape>& shared,
                                          const Work& work, uint32_t phase) {
  const auto& mask = p.launch.problem.mask;
  const int32_t first = work.tile * Shape::kKeys;
  const int bounds_bytes = min(Shape::kKeys, mask.key_length - first) * int{sizeof(ColumnBounds)};
  const Coordinates at{0, first, work.kv_head, work.batch};
  wait(shared.k_empty, phase ^ 1);
  arrive_expect(shared.k_full, Shape::kKeyBytes + bounds_bytes);
  load_columns<Shape::kKeys, Shape::kBlocks>(shared.k, p.k, at, shared.k_full, Keep::first_out);
  load_bulk(shared.bounds, mask.bounds + int64_t{work.mask_set} * mask.key_length + first,
            bounds_bytes, shared.k_full);
  wait(shared.v_empty, phase ^ 1);
  arrive_expect(shared.v_full, Shape::kKeyBytes);
  load_columns<Shape::kKeys, Shape::kBlocks>(shared.v, p.v, at, shared.v_full, Keep::first_out);
}

/// One thread: Q and lse, or dO and Δ, of a query tile.
template <typename Shape>
__device__ __forceinline__ void load_rows(const CUtensorMap& map, typename Shape::Element* to,
                                          float* terms_to, const float* terms, Coordinates at,
                                          Barrier& full) {
  constexpr int kTermBytes = Shape::kRows * 4;
  arrive_expect(full, Shape::kRowBytes + kTermBytes);
  load_columns<Shape::kRows, Shape::kBlocks>(to, map, at, full, Keep::last_out);
  load_bulk(terms_to, terms, kTermBytes, full);
}

/// One thread: 64 keys of dK or dV, from a tile of `tokens` tokens.
template <typename Shape>
__device__ __forceinline__ void store_columns(const CUtensorMap& map, Coordinates at,
                                              const typename Shape::Element* from, int tokens) {
#pragma unroll
  for (int block = 0; block < Shape::kBlocks; ++block) {
    at.column = block * 64;
    store_tile(map, at, from + block * tokens * 64);
  }
  commit_stores();
}

/// lse and Δ of a query tile: [2][kRows].
template <typename Shape>
__device__ __forceinline__ const float* row_terms(const BackwardParams& p, int32_t batch,
                                                  int32_t head, int32_t tile) {
  const int64_t at = (int64_t{batch} * p.launch.problem.heads + head) * p.launch.query_tiles + tile;
  return p.row_terms + at * (2 * Shape::kRows);
}

/// One warp: claims work and lists its query tiles, for each head of the group.
template <typename Shape>
__device__ __forceinline__ void plan_tiles(const BackwardParams& p, BackwardShared<Shape>& shared) {
  const TileBits& bits = p.launch.by_key;
  const bool first_lane = threadIdx.x % 32 == 0;
  Place<> items;
  Place<Shape::kPlanSlots> tiles;
  for (int32_t item = blockIdx.x;; ++items.count) {
    const Work work = work_at(p.by_kv_head, bits, item);
    wait(shared.work_empty[items.slot()], items.phase() ^ 1);
    if (first_lane) shared.work[items.slot()] = work;
    release(shared.work_full[items.slot()]);
    if (work.live < 0) break;
    if (first_lane) item = claim(*p.queue);
    const int32_t group = p.launch.problem.heads / p.launch.problem.kv_heads;
    for (int32_t in_group = 0; in_group < group; ++in_group) {
      TileWalk walk(bits, work, TileWalk::last_words(bits, work));
#pragma unroll 1
      for (int32_t left = work.live; left > 0; --left, ++tiles.count) {
        const LiveTile tile = walk.next(bits, work);
        wait(shared.plan_empty[tiles.slot()], tiles.phase() ^ 1);
        if (first_lane) {
          shared.plan[tiles.slot()] = {tile.tile, work.kv_head * group + in_group, tile.partial};
        }
        release(shared.plan_full[tiles.slot()]);
      }
    }
    item = uniform(item);
  }
  if (first_lane) leave(*p.queue);
}

/// One thread: keeps the rings of query tiles full, and the keys and values.
template <typename Shape>
__device__ __forceinline__ void load(const BackwardParams& p, BackwardShared<Shape>& shared) {
  const int32_t group = p.launch.problem.heads / p.launch.problem.kv_heads;
  Place<> items;
  Place<Shape::kStages> stages;
  Place<Shape::kPlanSlots> tiles;
  for (;; ++items.count) {
    wait(shared.work_full[items.slot()], items.phase());
    const Work work = shared.work[items.slot()];
    arrive(shared.work_empty[items.slot()]);
    if (work.live < 0) break;
    if (work.live == 0) {  // nobody sees these keys: there is nothing to load, but phases to end
      wait(shared.k_empty, items.slot() ^ 1);
      arrive(shared.k_full);
      wait(shared.v_empty, items.slot() ^ 1);
      arrive(shared.v_full);
    }
    const int32_t count = work.live * group;
#pragma unroll 1
    for (int32_t i = 0; i < count; ++i, ++tiles.count, ++stages.count) {
      const uint32_t slot = stages.slot();
      wait(shared.plan_full[tiles.slot()], tiles.phase());
      const QueryTile tile = shared.plan[tiles.slot()];
      arrive(shared.plan_empty[tiles.slot()]);
      const Coordinates at{0, tile.tile * Shape::kRows, tile.head, work.batch};
      const float* terms = row_terms<Shape>(p, work.batch, tile.head, tile.tile);
      wait(shared.q_empty[slot], stages.phase() ^ 1);
      shared.tile[slot] = tile;
      load_rows<Shape>(p.q, shared.q[slot], shared.lse[slot], terms, at, shared.q_full[slot]);
      // After the first queries, whose buffer is free before that of the keys.
      if (i == 0) load_keys(p, shared, work, items.slot());
      wait(shared.d_out_empty[slot], stages.phase() ^ 1);
      load_rows<Shape>(p.d_out, shared.d_out[slot], shared.delta[slot], terms + Shape::kRows, at,
                       shared.d_out_full[slot]);
    }
  }
}

/// One thread: adds one consumer's dQ to the sums in memory, and stores its dV, which it leaves
/// where its values were, and its dK.
template <typename Shape>
__device__ __forceinline__ void send(const BackwardParams& p, BackwardShared<Shape>& shared,
                                     int consumer) {
  using Element = typename Shape::Element;
  const int32_t group = p.launch.problem.heads / p.launch.problem.kv_heads;
  Place<> items;
  Place<Shape::kPlanSlots> tiles;
  for (;; ++items.count) {
    wait(shared.work_full[items.slot()], items.phase());
    const Work work = shared.work[items.slot()];
    arrive(shared.work_empty[items.slot()]);
    if (work.live < 0) break;
    const Coordinates keys{0, work.tile * Shape::kKeys + consumer * 64, work.kv_head, work.batch};
#pragma unroll 1
    for (int32_t left = work.live * group; left > 0; --left, ++tiles.count) {
      wait(shared.plan_full[tiles.slot()], tiles.phase());
      const QueryTile tile = shared.plan[tiles.slot()];
      arrive(shared.plan_empty[tiles.slot()]);
      const int64_t at =
          (int64_t{work.batch} * p.launch.problem.heads + tile.head) * p.launch.query_tiles +
          tile.tile;
      wait(shared.out_full[consumer], (tiles.count + items.count) % 2);
      add_bulk(p.launch.d_q_sum + (at * 2 + consumer) * (64 * 64), shared.out[consumer],
               64 * 64 * 4);
      commit_stores();
      wait_stores_read();
      arrive(shared.out_empty[consumer]);
    }
    wait(shared.d_v_full[consumer], items.slot());
    store_columns<Shape>(p.d_v, keys, shared.v + consumer * 64 * 64, Shape::kKeys);
    wait_stores_read();
    arrive(shared.v_empty);
    wait(shared.out_full[consumer], (tiles.count + items.count) % 2);
    store_columns<Shape>(p.d_k, keys, reinterpret_cast<const Element*>(shared.out[consumer]), 64);
    wait_stores_read();
    arrive(shared.out_empty[consumer]);
  }
  wait_stores();
}

}  // namespace heddle::attention::cuda::sm90
