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

/// What a backward kernel is compiled for. kOptions: soft-cap and ALiBi. kOrdered: deterministic.
template <typename Element_, int kHeadDim_, bool kOptions_, bool kOrdered_>
struct BackwardShape {
  using Element = Element_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kBlocks = kHeadDim / 64;  // of 64 columns: one swizzled row
  static constexpr bool kOptions = kOptions_;
  static constexpr bool kOrdered = kOrdered_;
  // Consumers add to dQ's sums themselves, past shared memory, whose bandwidth is short.
  static constexpr bool kDirect = kHeadDim == 256 || (kHeadDim == 128 && !kOrdered && !kOptions);
  // K and V as the left operands of S and dP stay in registers, for the same reason.
  static constexpr bool kKeysInRegisters = kHeadDim == 64 && !kOptions;
  static constexpr int kConsumers = 2;
  static constexpr int kKeys = backward_tile(kHeadDim).keys;
  static constexpr int kRows = backward_tile(kHeadDim).rows;
  static constexpr int kRowBlocks = kRows / 64;
  // With 256 columns each consumer has half of them of dQ, dK and dV, as registers do not suffice
  // for more, and both compute all of S and dP: else each has 64 keys.
  static constexpr bool kSplitColumns = kHeadDim == 256;
  static constexpr int kColumns = kSplitColumns ? 128 : kHeadDim;  // of a consumer
  static constexpr int kQueryParts = kSplitColumns ? 2 : 1;        // products that make its dQ
  static constexpr int kStages = 2;                                // query tiles in flight
  static constexpr int kTileSlots = 4;  // their numbers, which are needed until dQ is sent
  static constexpr int kPlanSlots = 8;  // tiles that the planner is ahead of the senders, at most
  static constexpr bool kEarly = kHeadDim == 64;  // issue dP before dQ is sent
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kRowBytes = kRows * kHeadDim * 2;
  static constexpr int kKeyBytes = kKeys * kHeadDim * 2;
  // Registers a thread: the sum over the warpgroups must not pass what the launch gives them.
  static constexpr int kProducerRegisters = 24;
  static constexpr int kConsumerRegisters = 240;
  static_assert(kRows * kHeadDim == 2 * kQueryParts * 64 * 64);
  // Blocks of 64 keys × 64 columns that a consumer's `out` holds; how often it is used for a query
  // tile, and for all blocks of dV and dK at the end of its keys.
  static constexpr int kOutBlocks = kHeadDim == 256 ? 1 : 2;
  static constexpr uint32_t kTileUses = kDirect ? 0 : 1, kKeyUses = kColumns / 32 / kOutBlocks;
};

/// One query tile of one head.
struct QueryTile {
  int32_t tile, head;
  bool partial;
  uint16_t turn;  // when deterministic: how many key tiles add to its sums before this one
};

/// Counters tell every ring's place: of the block's pieces of work, and of their query tiles. A
/// reader waits for parity `phase` of the slot's "full" barrier, a writer for the other of its
/// "empty" one.
template <uint32_t kSlots = 2>
struct Place {
  uint32_t count = 0;

  __device__ __forceinline__ uint32_t slot() const { return count % kSlots; }
  __device__ __forceinline__ uint32_t phase() const { return count / kSlots % 2; }
};

template <typename Shape>
struct __align__(1024) BackwardShared {
  using Element = typename Shape::Element;
  Element k[Shape::kKeys * Shape::kHeadDim];
  Element v[Shape::kKeys * Shape::kHeadDim];
  Element q[Shape::kStages][Shape::kRows * Shape::kHeadDim];
  Element d_out[Shape::kStages][Shape::kRows * Shape::kHeadDim];
  Element d_scores[2][Shape::kKeys * Shape::kRows];             // [kRows / 64][keys][64], swizzled
  Element out[Shape::kConsumers][Shape::kOutBlocks * 64 * 64];  // dQ in f32, then dV and dK
  alignas(16) float lse[Shape::kStages][Shape::kRows];
  alignas(16) float delta[Shape::kStages][Shape::kRows];
  ColumnBounds bounds[Shape::kKeys];
  QueryTile plan[Shape::kPlanSlots];
  QueryTile tile[Shape::kTileSlots];
  Work work[2];
  int32_t item;   // the planner's next
  Place<> items;  // and where it goes
  Barrier work_full[2], work_empty[2], k_full, k_empty, v_full, v_empty;
  Barrier plan_full[Shape::kPlanSlots], plan_empty[Shape::kPlanSlots];
  Barrier q_full[Shape::kStages], q_empty[Shape::kStages];
  Barrier scores_full[2], scores_empty[2];
  Barrier d_out_full[Shape::kStages], d_out_empty[Shape::kStages];
  Barrier out_full[Shape::kConsumers], out_empty[Shape::kConsumers];
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
  init(shared.v_empty, kWarps);
  for (int i = 0; i < Shape::kPlanSlots; ++i) {
    init(shared.plan_full[i], 1);
    init(shared.plan_empty[i], Shape::kDirect ? 1 : Shape::kConsumers + 1);
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
  }
  fence_barrier_init();
}

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
  load_bulk(terms_to, terms, kTermBytes, full);
  load_columns<Shape::kRows, Shape::kBlocks>(to, map, at, full, Keep::last_out);
}

/// Which of dQ's tiles of sums a query tile adds to.
__device__ __forceinline__ int64_t sums_at(const BackwardParams& p, int32_t batch,
                                           const QueryTile& tile) {
  return (int64_t{batch} * p.launch.problem.heads + tile.head) * p.launch.query_tiles + tile.tile;
}

/// lse and Δ of a query tile: [2][kRows].
template <typename Shape>
__device__ __forceinline__ const float* row_terms(const BackwardParams& p, int32_t batch,
                                                  const QueryTile& tile) {
  return p.scratch.row_terms + sums_at(p, batch, tile) * (2 * Shape::kRows);
}

/// How many key tiles add to the query tile's sums before the one in work.
__device__ __forceinline__ uint16_t turn_of(const BackwardParams& p, const Work& work,
                                            int32_t query_tile) {
  const int32_t list = work.mask_set * p.launch.by_key.tiles + work.tile;
  return __ldg(p.scratch.turns + static_cast<uint32_t>(list * p.launch.query_tiles + query_tile));
}

/// One warp: claims work and lists its query tiles, for each head of the group.
///
/// When ordered, tiles of keys go from the last to the first, each through its query tiles from the
/// first on: where neighbours begin at later rows the later the keys, none has to wait for its
/// turn.
template <typename Shape>
__device__ __forceinline__ void plan_tiles(const BackwardParams& p, BackwardShared<Shape>& shared) {
  using Walk = TileWalk<Shape::kOrdered>;
  const TileBits& bits = p.launch.by_key;
  const bool first_lane = threadIdx.x % 32 == 0;
  Place<Shape::kPlanSlots> tiles;
  if (first_lane) shared.item = static_cast<int32_t>(blockIdx.x), shared.items = {};
  __syncwarp();
  for (;;) {
    const Place<> items = shared.items;
    wait(shared.work_empty[items.slot()], items.phase() ^ 1);
    Work& work = shared.work[items.slot()];  // all stays there: registers are short
    if (first_lane) work = work_at<Shape::kOrdered>(p.by_kv_head, bits, shared.item);
    release(shared.work_full[items.slot()]);
    if (work.live < 0) break;
    if (first_lane) {
      shared.item = claim(*p.scratch.queue);
      shared.items = {items.count + 1};
    }
    for (int32_t in_group = 0; in_group < p.group; ++in_group) {
      Walk walk(bits, work, Walk::first_words(bits, work));
#pragma unroll 1
      for (int32_t left = work.live; left > 0; --left, ++tiles.count) {
        const LiveTile tile = walk.next(bits, work);
        wait(shared.plan_empty[tiles.slot()], tiles.phase() ^ 1);
        if (first_lane) {
          shared.plan[tiles.slot()] = {tile.tile, work.kv_head * p.group + in_group, tile.partial,
                                       uint16_t{0}};
          if constexpr (Shape::kOrdered) {
            shared.plan[tiles.slot()].turn = turn_of(p, work, tile.tile);
          }
        }
        release(shared.plan_full[tiles.slot()]);
      }
    }
    __syncwarp();
  }
  if (first_lane) leave(*p.scratch.queue);
}

/// One thread: keeps the rings of query tiles full, and the keys and values.
template <typename Shape>
__device__ __forceinline__ void load(const BackwardParams& p, BackwardShared<Shape>& shared) {
  Place<> items;
  Place<Shape::kPlanSlots> tiles;
  for (;; ++items.count) {
    wait(shared.work_full[items.slot()], items.phase());
    const Work& work = shared.work[items.slot()];  // stays there: registers are short
    if (work.live < 0) break;
    if (work.live == 0) {  // nobody sees these keys: there is nothing to load, but phases to end
      wait(shared.k_empty, items.slot() ^ 1);
      arrive(shared.k_full);
      wait(shared.v_empty, items.slot() ^ 1);
      arrive(shared.v_full);
    }
    const uint32_t end = tiles.count + static_cast<uint32_t>(work.live * p.group);
    bool first = true;
#pragma unroll 1
    for (; tiles.count != end; ++tiles.count) {
      const Place<Shape::kStages> stages{tiles.count};
      const uint32_t slot = stages.slot();
      QueryTile& tile =
          shared.tile[tiles.count %
                      Shape::kTileSlots];  // read anew where needed: registers are short
      wait(shared.plan_full[tiles.slot()], tiles.phase());
      wait(shared.q_empty[slot], stages.phase() ^ 1);
      tile = shared.plan[tiles.slot()];
      arrive(shared.plan_empty[tiles.slot()]);
      load_rows<Shape>(p.q, shared.q[slot], shared.lse[slot], row_terms<Shape>(p, work.batch, tile),
                       {0, tile.tile * Shape::kRows, tile.head, work.batch}, shared.q_full[slot]);
      // After the first queries, whose buffer is free before that of the keys.
      if (first) load_keys(p, shared, work, items.slot());
      first = false;
      wait(shared.d_out_empty[slot], stages.phase() ^ 1);
      load_rows<Shape>(p.d_out, shared.d_out[slot], shared.delta[slot],
                       row_terms<Shape>(p, work.batch, tile) + Shape::kRows,
                       {0, tile.tile * Shape::kRows, tile.head, work.batch},
                       shared.d_out_full[slot]);
    }
    arrive(shared.work_empty[items.slot()]);
  }
}

/// Until `turn` others have added to the sums. They take their turns in the order in which blocks
/// claim work, so none waits for one that has not begun.
__device__ __forceinline__ void wait_turn(const uint32_t* served, uint32_t turn) {
  while (load_acquire(served) != turn) __nanosleep(32);
  fence_async();
}

/// After this thread's additions; they must be in memory, not only read from shared memory.
__device__ __forceinline__ void end_turn(uint32_t* served) {
  wait_stores();
  fence_async();
  add_release(served, 1);
}

/// One thread: adds one consumer's dQ to the sums in memory, tile by tile of a piece of work.
template <typename Shape>
__device__ __forceinline__ void send_queries(const BackwardParams& p, BackwardShared<Shape>& shared,
                                             const Work& work, int consumer, uint32_t& uses,
                                             Place<Shape::kPlanSlots>& tiles) {
#pragma unroll 1
  for (int32_t left = work.live * p.group; left > 0; --left, ++tiles.count, ++uses) {
    wait(shared.plan_full[tiles.slot()], tiles.phase());
    const QueryTile tile = shared.plan[tiles.slot()];
    arrive(shared.plan_empty[tiles.slot()]);
    const int64_t at = sums_at(p, work.batch, tile) * 2 + consumer;
    wait(shared.out_full[consumer], uses % 2);
    fence_shared_async();  // here, not by the consumers, who have no time for it
    if constexpr (Shape::kOrdered) wait_turn(p.scratch.served + at, tile.turn);
    add_bulk(p.launch.d_q_sum + at * (64 * 64),
             reinterpret_cast<const float*>(shared.out[consumer]), 64 * 64 * 4);
    commit_stores();
    wait_stores_read();
    arrive(shared.out_empty[consumer]);
    if constexpr (Shape::kOrdered) end_turn(p.scratch.served + at);
  }
}

/// One thread: sends out what one consumer leaves in shared memory: dQ, then its keys' dV and dK.
template <typename Shape>
__device__ __forceinline__ void send(const BackwardParams& p, BackwardShared<Shape>& shared,
                                     int consumer) {
  constexpr int kBlocks = Shape::kColumns / 64;
  Place<> items;
  Place<Shape::kPlanSlots> tiles;
  uint32_t uses = 0;
  for (;; ++items.count) {
    wait(shared.work_full[items.slot()], items.phase());
    const Work& work = shared.work[items.slot()];  // stays there: registers are short
    if (work.live < 0) break;
    if constexpr (!Shape::kDirect) send_queries(p, shared, work, consumer, uses, tiles);
    for (int block = 0; block < 2 * kBlocks; ++uses) {
      wait(shared.out_full[consumer], uses % 2);
#pragma unroll
      for (int i = 0; i < Shape::kOutBlocks; ++i, ++block) {
        const int column = block % kBlocks * 64 + (Shape::kSplitColumns ? consumer * 128 : 0);
        const int key = work.tile * Shape::kKeys + (Shape::kSplitColumns ? 0 : consumer * 64);
        store_tile(block < kBlocks ? p.d_v : p.d_k, {column, key, work.kv_head, work.batch},
                   shared.out[consumer] + i * 64 * 64);
      }
      commit_stores();
      wait_stores_read();
      arrive(shared.out_empty[consumer]);
    }
    arrive(shared.work_empty[items.slot()]);
  }
  wait_stores();
}

}  // namespace heddle::attention::cuda::sm90
