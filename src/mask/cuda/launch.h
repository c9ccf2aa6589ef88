// What the host and the GPU share about masks: plain structs, and the kernels' launchers.
//
// Bounds are [batches, heads, key_length] of ColumnBounds. The plan of one axis is, per (batch,
// head, tile of that axis), a row of bits over the tiles of the other axis: live, and full. Its
// size is known before any mask is seen, so it is built on the GPU without asking the host: 2 bits
// a tile pair, 256 KiB for 131,072 × 131,072 in tiles of 128 × 128.
#pragma once

#include <cstdint>

#include "heddle/base/host_device.h"
#include "heddle/mask/rule.h"

struct CUstream_st;

namespace heddle::cuda {

/// The bounds of one key column, see rule.h; 16 bytes, so that a kernel fetches them in one load.
struct alignas(16) ColumnBounds {
  int32_t lts, lte, uts, ute;
};

/// A mask on the GPU. `batches` and `heads` of 1 are shared by all sequences and key/value heads.
struct DeviceColumns {
  const ColumnBounds* bounds;  // [batches, heads, key_length]
  int32_t batches, heads;
  int32_t query_length, key_length;
  int32_t offset;
  bool causal;
};

/// Which of a mask's own sets of bounds a sequence and key/value head use.
HEDDLE_HD inline int32_t mask_set(const DeviceColumns& mask, int32_t batch, int32_t kv_head) {
  return (mask.batches == 1 ? 0 : batch) * mask.heads + (mask.heads == 1 ? 0 : kv_head);
}

/// The column for the rule. A key past the end of its tile's mask is never allowed.
HEDDLE_HD inline MaskColumn mask_column(const DeviceColumns& mask, const ColumnBounds& bounds,
                                        int32_t key) {
  int32_t first = mask.causal ? larger(key - mask.offset, 0) : 0;
  if (key >= mask.key_length) first = 0x7fffffff;
  return {first, bounds.lts, bounds.lte, bounds.uts, bounds.ute};
}

/// Bits of 32 neighbouring tiles; full tiles are live too.
struct alignas(8) TileWord {
  uint32_t live, full;
};

enum class TileAxis : int32_t { query, key };

/// The live tiles of one axis: for each of its tiles, in which tiles of the other axis it has work.
/// Tiles cut off by the end of either axis are never full, so a kernel needs no other bounds test.
struct TileBits {
  TileWord* words;  // [sets, tiles, words_per_tile]
  int32_t* counts;  // [sets, tiles]: live tiles
  int32_t* order;   // [sets, tiles]: the tiles of a set, most work first
  int32_t tiles, words_per_tile;
  int32_t rows, keys;  // the tile's shape
};

/// For each group of 16 query rows the keys [begin, end) from the first to the last that one of
/// them may look at: for kernels that take blocks of 16 × 16 as they come, without a plan.
struct KeySpans {
  static constexpr int kRows = 16;
  struct Keys {
    int32_t begin, minus_end;  // so that the least of both is the union; no keys: begin > end
    HEDDLE_HD int32_t end() const { return -minus_end; }
  };
  Keys* of_rows;  // [sets, groups of rows]
  bool skips;     // false: blocks without a visible pair are computed, too
};

/// Bounds as callers hold them: i32 [sets, key_length, columns], in one of FlashMask's orders.
struct StartendColumns {
  const int32_t* data;
  int32_t columns;  // 0: none; 1: LTS; 2: LTS, LTE (causal) or LTS, UTE; 4: LTS, LTE, UTS, UTE
  int64_t stride;   // between the entries of neighbouring keys
  int64_t set_stride;
};

/// Fills bounds (all sets) from the caller's columns; what is out of range masks nothing more than
/// its clipped part. Returns a cudaError_t.
int launch_import(const StartendColumns& from, const DeviceColumns& mask, ColumnBounds* bounds,
                  CUstream_st* stream);

/// Fills words, counts and order of one axis, exactly: a tile is dead if and only if no pair in it
/// is allowed, full if and only if all are. Returns a cudaError_t.
int launch_plan(const DeviceColumns& mask, TileAxis axis, const TileBits& bits,
                CUstream_st* stream);

/// turns [sets, key tiles, query tiles]: in how many key tiles behind this one the query tile has
/// work, from the plan by key.
int launch_turns(const DeviceColumns& mask, const TileBits& by_key, uint16_t* turns,
                 CUstream_st* stream);

int launch_key_spans(const DeviceColumns& mask, KeySpans::Keys* of_rows, CUstream_st* stream);

/// Makes every tile of a plan live, so that nothing is skipped: the same results, to be tested.
int launch_show_all(const DeviceColumns& mask, TileAxis axis, const TileBits& bits,
                    CUstream_st* stream);

}  // namespace heddle::cuda
