// Which tiles a block visits: a persistent block claims one (sequence, head, tile) after another,
// the longest first, and walks the bits of that tile's live partners.
#pragma once

#include "heddle/attention/cuda/sm90/params.h"

namespace heddle::attention::cuda::sm90 {

using heddle::cuda::TileWord;

/// One claimed tile. `live` < 0: there is no more work.
struct Work {
  int32_t batch, head, kv_head;
  int32_t mask_set;  // which bounds and which bits
  int32_t tile;      // of the axis that the block owns
  int32_t live;      // partners to visit
};

/// Work `item` in the order: sections of heads whose keys and values share the L2 cache; in each
/// the tiles from the most work to the least; for each tile all heads of the section. `heads` is H
/// or K, whichever the block's tile belongs to, and `group` the query heads behind one of its
/// heads. kDescending: the tiles from the last to the first instead.
template <bool kDescending = false>
__device__ __forceinline__ Work work_at(const Problem& p, const TileBits& bits, int32_t item) {
  constexpr Work kNone{0, 0, 0, 0, 0, -1};
  const int32_t group = p.heads / p.kv_heads;
  const int32_t section = p.section * group;
  const int32_t heads = p.batches * p.heads;
  const int32_t first_head = item / (section * bits.tiles) * section;
  if (first_head >= heads) return kNone;
  const int32_t width = min(section, heads - first_head);
  const int32_t rest = item - first_head * bits.tiles;
  const int32_t rank = rest / width;
  if (rank >= bits.tiles) return kNone;

  const int32_t batch_head = first_head + rest - rank * width;
  Work work;
  work.batch = batch_head / p.heads;
  work.head = batch_head - work.batch * p.heads;
  work.kv_head = work.head / group;
  work.mask_set = mask_set(p.mask, work.batch, work.kv_head);
  work.tile =
      kDescending ? bits.tiles - 1 - rank : __ldg(bits.order + work.mask_set * bits.tiles + rank);
  work.live = __ldg(bits.counts + work.mask_set * bits.tiles + work.tile);
  return work;
}

/// By one thread. Not atomicAdd, for which the compiler would first gather the lanes of the warp.
__device__ __forceinline__ uint32_t add_one(uint32_t& counter) {
  uint32_t before;
  asm volatile("atom.global.inc.u32 %0, [%1], 0x7fffffff;"
               : "=r"(before)
               : "l"(&counter)
               : "memory");
  return before;
}

/// Claims an item that no other block has; the first one is the block's own number. One thread.
__device__ __forceinline__ int32_t claim(WorkQueue& queue) {
  return static_cast<int32_t>(gridDim.x + add_one(queue.claimed));
}

/// The last block to leave zeroes the queue for the next launch. One thread.
__device__ __forceinline__ void leave(WorkQueue& queue) {
  __threadfence();
  if (add_one(queue.finished) == gridDim.x - 1) queue = {0, 0};
}

/// Without a queue there are no items beyond the first ones.
__device__ __forceinline__ int32_t claim(WorkQueue* queue) {
  return queue == nullptr ? 0x7fffffff : claim(*queue);
}
__device__ __forceinline__ void leave(WorkQueue* queue) {
  if (queue != nullptr) leave(*queue);
}

struct LiveTile {
  int32_t tile;
  bool partial;
};

/// A warp walks the live partners of one tile, from the last to the first or the other way round,
/// its lanes holding 32 words of bits at a time: 1024 tiles, all there are up to 131,072 tokens.
template <bool kAscending = false>
class TileWalk {
 public:
  /// This lane's word of the 32 that a walk begins with; nothing where the tile has fewer.
  __device__ __forceinline__ static TileWord first_words(const TileBits& bits, const Work& work) {
    return load(bits, work, first(bits));
  }

  __device__ __forceinline__ TileWalk(const TileBits& bits, const Work& work, TileWord first_words)
      : begin_(first(bits)), mine_(first_words) {
    nonzero_ = __ballot_sync(0xffffffffu, mine_.live != 0);
  }

  /// At most as often as the tile has live partners. All lanes get the same.
  __device__ __forceinline__ LiveTile next(const TileBits& bits, const Work& work) {
    if (live_ == 0) {
      while (nonzero_ == 0) advance(bits, work);
      const int lane = pick(nonzero_);
      nonzero_ ^= 1u << lane;
      live_ = __shfl_sync(0xffffffffu, mine_.live, lane);
      full_ = __shfl_sync(0xffffffffu, mine_.full, lane);
      base_ = (begin_ + lane) * 32;
    }
    const int bit = pick(live_);
    live_ ^= 1u << bit;
    return {base_ + bit, ((full_ >> bit) & 1u) == 0};
  }

 private:
  __device__ __forceinline__ static int32_t first(const TileBits& bits) {
    return kAscending ? 0 : max(bits.words_per_tile - 32, 0);
  }

  __device__ __forceinline__ static int pick(uint32_t bits) {
    return kAscending ? __ffs(static_cast<int>(bits)) - 1 : 31 - __clz(static_cast<int>(bits));
  }

  __device__ __forceinline__ void advance(const TileBits& bits, const Work& work) {
    const int32_t end = begin_;
    begin_ = kAscending ? begin_ + 32 : max(end - 32, 0);
    mine_ = load(bits, work, begin_);
    if (!kAscending && begin_ + static_cast<int>(threadIdx.x % 32) >= end) mine_ = {0, 0};
    nonzero_ = __ballot_sync(0xffffffffu, mine_.live != 0);
  }

  __device__ __forceinline__ static TileWord load(const TileBits& bits, const Work& work,
                                                  int32_t begin) {
    const int32_t at = begin + static_cast<int32_t>(threadIdx.x % 32);
    if (at >= bits.words_per_tile) return {0, 0};
    const int32_t row = work.mask_set * bits.tiles + work.tile;  // 32 bits: 16 GB of words
    const auto* words = bits.words + static_cast<uint32_t>(row * bits.words_per_tile + at);
    const uint2 word = __ldg(reinterpret_cast<const uint2*>(words));
    return {word.x, word.y};
  }

  int32_t begin_;  // which word lane 0 holds
  TileWord mine_;
  uint32_t nonzero_;              // lanes whose words are still to be walked
  uint32_t live_ = 0, full_ = 0;  // of the word being walked
  int32_t base_ = 0;
};

}  // namespace heddle::attention::cuda::sm90
