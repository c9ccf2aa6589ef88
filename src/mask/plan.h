// MaskPlan: the tiles of a mask that a kernel must visit, for one tile shape. Built once a batch
// and shared by all layers. Per query tile the live key tiles (forward), per key tile the live
// query tiles (backward), both as runs of consecutive tiles that are all full or all partial.
//
// Exact: every column's visible rows enter a sweep over the rows, so a tile is skipped if and only
// if no pair in it may look, and full if and only if every pair may.
#pragma once

#include <cstdint>
#include <vector>

#include "heddle/mask/mask.h"

namespace heddle {

struct TileShape {
  int32_t rows;
  int32_t keys;
};

/// Consecutive live tiles [first, first + count) of one class. In storage, count == 0 is a jump:
/// the list goes on at position `first`, in the tail of another list.
struct TileRun {
  int32_t first;
  uint32_t count : 31;
  uint32_t full : 1;
  bool operator==(const TileRun&) const = default;
};

/// Where one tile's runs lie, and how much work they are.
struct TileList {
  int32_t start;  ///< position of the first run in the pool
  int32_t runs;
  int32_t tiles;  ///< live tiles in all runs
};

/// The runs of all tiles of one axis.
struct TileIndex {
  std::vector<TileList> lists;
  std::vector<TileRun> runs;
};

struct TileCounts {
  int64_t skipped = 0;
  int64_t partial = 0;
  int64_t full = 0;
};

/// The runs of one tile, for range-for; follows jumps.
class TileRuns {
 public:
  class Iterator {
   public:
    Iterator(const TileRun* pool, int32_t at, int32_t left);
    TileRun operator*() const { return pool_[at_]; }
    Iterator& operator++();
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    void follow_jump();

    const TileRun* pool_;
    int32_t at_;
    int32_t left_;
  };

  TileRuns(const TileRun* pool, TileList list) : pool_(pool), list_(list) {}
  Iterator begin() const { return {pool_, list_.start, list_.runs}; }
  Iterator end() const { return {pool_, list_.start, 0}; }
  int32_t size() const { return list_.runs; }

 private:
  const TileRun* pool_;
  TileList list_;
};

class MaskPlan {
 public:
  MaskPlan(const ColumnMask& mask, TileShape tile);

  /// Every tile partial: the same results from the work of a dense mask, to test and to measure
  /// what skipping saves.
  static MaskPlan without_skipping(const ColumnMask& mask, TileShape tile);

  bool skips() const { return skips_; }  ///< false without skipping
  TileShape tile() const { return tile_; }
  int32_t heads() const { return heads_; }
  int32_t query_tiles() const { return query_tiles_; }
  int32_t key_tiles() const { return key_tiles_; }

  /// Live key tiles of a query tile, from the last key tile to the first.
  TileRuns runs_of_query_tile(int32_t head, int32_t query_tile) const;
  /// Live query tiles of a key tile, rising.
  TileRuns runs_of_key_tile(int32_t head, int32_t key_tile) const;

  int32_t live_tiles_of_query_tile(int32_t head, int32_t query_tile) const;
  int32_t live_tiles_of_key_tile(int32_t head, int32_t key_tile) const;

  TileCounts counts() const { return counts_; }  ///< over all heads
  int64_t bytes() const;

 private:
  MaskPlan(TileShape tile, int32_t heads, int32_t query_tiles, int32_t key_tiles);

  const TileList& list(const TileIndex& index, int32_t tiles, int32_t head, int32_t tile) const;

  bool skips_ = true;
  TileShape tile_;
  int32_t heads_;
  int32_t query_tiles_;
  int32_t key_tiles_;
  TileIndex by_query_;  // lists [heads, query_tiles]; they share tails through jumps
  TileIndex by_key_;    // lists [heads, key_tiles]
  TileCounts counts_;
};

}  // namespace heddle
