// The producing warpgroup of the forward: warp 0 claims work and copies tiles of Q, K and V, warp i
// + 1 writes the mask bits of consumer i.
#pragma once

#include "heddle/attention/cuda/sm90/forward_shape.cuh"

namespace heddle::attention::cuda::sm90 {

/// Copies kTokens tokens × E columns.
template <int kTokens, int kBlocks, typename Element>
__device__ __forceinline__ void load_tokens(Element* to, const CUtensorMap& map, Coordinates at,
                                            Barrier& full, Keep keep) {
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    at.column = block * 64;
    load_tile(to + block * kTokens * 64, map, at, full, keep);
  }
}

/// One thread: the query rows of all consumers.
template <typename Shape>
__device__ __forceinline__ void load_queries(const ForwardParams& p, ForwardShared<Shape>& shared,
                                             const Work& work) {
  arrive_expect(shared.q_full, Shape::kRows * Shape::kHeadDim * 2);
#pragma unroll
  for (int consumer = 0; consumer < Shape::kConsumers; ++consumer) {
    const Coordinates at{0, work.tile * Shape::kRows + consumer * 64, work.head, work.batch};
    load_tokens<64, Shape::kBlocks>(shared.q[consumer], p.q, at, shared.q_full, Keep::first_out);
  }
}

/// One warp: claims work and keeps the rings of Q, K and V full. Its first lane copies.
template <typename Shape>
__device__ __forceinline__ void produce(const ForwardParams& p, ForwardShared<Shape>& shared) {
  constexpr int kTileBytes = Shape::kKeys * Shape::kHeadDim * 2;
  const TileBits& bits = p.launch.by_query;
  const int lane = threadIdx.x;
  Ring<2> works;
  Ring<Shape::kStages> stages;
  uint32_t q_phase = 0;

  Work work = work_at(p.launch.problem, bits, blockIdx.x);
  TileWord words = work.live > 0 ? TileWalk<>::first_words(bits, work) : TileWord{0, 0};
  for (;;) {
    wait(shared.work_empty[works.slot], works.phase ^ 1);
    if (lane == 0) shared.work[works.slot] = work;
    shared.work_words[works.slot][lane] = words;
    arrive(shared.work_full[works.slot]);
    works.advance();
    if (work.live < 0) break;

    int32_t next_item = 0;  // known to the first lane; its latency, and what follows, hide behind
    if (lane == 0) next_item = claim(p.queue);  // the first copies
    Work next{};
    TileWord next_words{0, 0};
    const auto look_ahead = [&] {
      next = work_at(p.launch.problem, bits, uniform(next_item));
      if (next.live > 0) next_words = TileWalk<>::first_words(bits, next);
    };
    if (work.live == 0) look_ahead();
    TileWalk<> walk(bits, work, words);
#pragma unroll 1
    for (int32_t i = 0; i < work.live; ++i) {
      const LiveTile tile = walk.next(bits, work);
      const Coordinates at{0, tile.tile * Shape::kKeys, work.kv_head, work.batch};
      const int stage = stages.slot;
      wait(shared.k_empty[stage], stages.phase ^ 1);
      if (lane == 0) {
        shared.key_tile[stage] = tile;
        arrive_expect(shared.k_full[stage], kTileBytes);
        load_tokens<Shape::kKeys, Shape::kBlocks>(shared.k[stage], p.k, at, shared.k_full[stage],
                                                  Keep::last_out);
      }
      if (i == 0) {  // after the first keys, whose buffer is free before Q's
        wait(shared.q_empty, q_phase ^ 1);
        q_phase ^= 1;
        if (lane == 0) load_queries(p, shared, work);
      }
      wait(shared.v_empty[stage], stages.phase ^ 1);
      if (lane == 0) {
        arrive_expect(shared.v_full[stage], kTileBytes);
        load_tokens<Shape::kKeys, Shape::kBlocks>(shared.v[stage], p.v, at, shared.v_full[stage],
                                                  Keep::last_out);
      }
      if (i == 0) look_ahead();
      stages.advance();
    }
    work = next;
    words = next_words;
  }
  if (lane == 0) leave(p.queue);
}

/// One warp: writes the mask bits of one consumer's 64 rows for every partial tile.
template <typename Shape>
__device__ __forceinline__ void produce_masks(const ForwardParams& p, ForwardShared<Shape>& shared,
                                              int consumer) {
  const TileBits& bits = p.launch.by_query;
  const auto& mask = p.launch.problem.mask;
  constexpr int kPairs = (Shape::kKeys / 2 + 31) / 32;  // of columns, a lane
  constexpr int kAtOnce = Shape::kProducerRegisters < 40 ? 1 : kPairs;
  Ring<2> works;
  Ring<Shape::kMaskSlots> masks;
  for (;;) {
    wait(shared.work_full[works.slot], works.phase);
    const Work work = shared.work[works.slot];
    const TileWord words = shared.work_words[works.slot][threadIdx.x % 32];
    arrive_warp(shared.work_empty[works.slot]);
    works.advance();
    if (work.live < 0) return;

    const int32_t row = work.tile * Shape::kRows + consumer * 64;
    TileWalk<> walk(bits, work, words);
#pragma unroll 1
    for (int32_t i = 0; i < work.live; ++i) {
      const LiveTile tile = walk.next(bits, work);
      if (!tile.partial) continue;
      const int32_t key = tile.tile * Shape::kKeys;
#pragma unroll
      for (int first = 0; first < kPairs; first += kAtOnce) {
        const LaneColumns<kAtOnce> columns(mask, work.mask_set, key, first);
        if (first == 0) wait(shared.mask_empty[consumer][masks.slot], masks.phase ^ 1);
        write_mask_bits(shared.mask[consumer][masks.slot], columns, mask, row, key, first);
      }
      arrive(shared.mask_full[consumer][masks.slot]);
      masks.advance();
    }
  }
}

}  // namespace heddle::attention::cuda::sm90
