// The tile plan of a mask, built on the GPU.
//
// A block classifies 32 query tiles × 32 key tiles: each warp takes a key tile at a time, each lane
// a query tile. The least and greatest of each bound over the key tile settle most tiles; where
// they do not, the lane counts the visible rows of every column. Then one warp a tile counts its
// live tiles, and each tile finds its rank by comparing its count with all others of its set.
#include "heddle/mask/cuda/launch.h"

#include <cuda_runtime_api.h>

namespace heddle::cuda {

namespace {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kWarps = 8;
constexpr int kNever = 0x7fffffff;

/// Least and greatest bound over the columns of a tile; empty intervals count as beyond the end.
struct Extent {
  int least = kNever, greatest = -kNever;

  __device__ void add(int value) {
    least = min(least, value);
    greatest = max(greatest, value);
  }
  __device__ void reduce() {
    least = __reduce_min_sync(kAllLanes, least);
    greatest = __reduce_max_sync(kAllLanes, greatest);
  }
};

struct Interval {
  Extent begin, end;

  __device__ void add(int first, int last) {
    const bool empty = first >= last;
    begin.add(empty ? kNever : first);
    end.add(empty ? -kNever : last);
  }
  __device__ void reduce() {
    begin.reduce();
    end.reduce();
  }
  __device__ bool masks_all(int row_begin, int row_end) const {
    return begin.greatest <= row_begin && end.least >= row_end;
  }
  __device__ bool masks_none(int row_begin, int row_end) const {
    return begin.least >= row_end || end.greatest <= row_begin;
  }
};

struct KeyTile {
  int begin, end;
  Interval lower, upper;
  Extent first;
};

__device__ KeyTile summarise(const DeviceColumns& mask, const ColumnBounds* bounds, int begin,
                             int end) {
  KeyTile tile{begin, end, {}, {}, {}};
  for (int key = begin + static_cast<int>(threadIdx.x % 32); key < end; key += 32) {
    const MaskColumn column = mask_column(mask, bounds[key], key);
    tile.lower.add(column.lts, column.lte);
    tile.upper.add(column.uts, column.ute);
    tile.first.add(column.first);
  }
  tile.lower.reduce();
  tile.upper.reduce();
  tile.first.reduce();
  return tile;
}

/// The exact class of rows [row_begin, row_end) for each lane; an empty range is dead.
__device__ TileClass classify(const DeviceColumns& mask, const ColumnBounds* bounds,
                              const KeyTile& tile, int row_begin, int row_end) {
  const bool dead = row_begin >= row_end || tile.first.least >= row_end ||
                    tile.lower.masks_all(row_begin, row_end) ||
                    tile.upper.masks_all(row_begin, row_end);
  const bool full = !dead && tile.first.greatest <= row_begin &&
                    tile.lower.masks_none(row_begin, row_end) &&
                    tile.upper.masks_none(row_begin, row_end);
  bool settled = dead || full;
  bool any = full, all = full;
  if (!settled) all = true;
  for (int key = tile.begin; key < tile.end; ++key) {
    if (__all_sync(kAllLanes, settled)) break;
    const MaskColumn column = mask_column(mask, bounds[key], key);
    if (!settled) {
      const int visible = visible_rows(column, row_begin, row_end);
      any = any || visible > 0;
      all = all && visible == row_end - row_begin;
      settled = any && !all;
    }
  }
  if (!any) return TileClass::skip;
  return all ? TileClass::full : TileClass::partial;
}

/// Lane i's word holds bit k of lane k's word i: a 32 × 32 transposition.
__device__ uint32_t transpose_bits(uint32_t word) {
  uint32_t result = 0;
  for (int i = 0; i < 32; ++i) {
    const uint32_t column = __ballot_sync(kAllLanes, (word >> i) & 1u);
    if (static_cast<int>(threadIdx.x % 32) == i) result = column;
  }
  return result;
}

__global__ void __launch_bounds__(kWarps * 32)
    plan_kernel(DeviceColumns mask, TileAxis axis, TileBits bits) {
  __shared__ TileWord found[32];  // per key tile, bits over query tiles
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int set = static_cast<int>(blockIdx.z);
  const ColumnBounds* bounds = mask.bounds + static_cast<int64_t>(set) * mask.key_length;
  const int query_tile = static_cast<int>(blockIdx.x) * 32 + lane;
  const int row_begin = query_tile * bits.rows;  // past the end for the last lanes
  const int row_end = min(row_begin + bits.rows, mask.query_length);
  const bool cut_rows = row_end - row_begin < bits.rows;

  for (int i = warp; i < 32; i += kWarps) {
    const int key_begin = (static_cast<int>(blockIdx.y) * 32 + i) * bits.keys;
    const int key_end = min(key_begin + bits.keys, mask.key_length);
    TileClass tile_class = TileClass::skip;
    if (key_begin < key_end) {
      const KeyTile tile = summarise(mask, bounds, key_begin, key_end);
      tile_class = classify(mask, bounds, tile, row_begin, row_end);
    }
    const bool cut = cut_rows || key_end - key_begin < bits.keys;
    const uint32_t live = __ballot_sync(kAllLanes, tile_class != TileClass::skip);
    const uint32_t full = __ballot_sync(kAllLanes, tile_class == TileClass::full && !cut);
    if (lane == 0) found[i] = {live, full};
  }
  __syncthreads();
  if (warp > 0) return;
  TileWord word = found[lane];
  int tile = static_cast<int>(blockIdx.y) * 32 + lane, at = static_cast<int>(blockIdx.x);
  if (axis == TileAxis::query) {
    word = {transpose_bits(word.live), transpose_bits(word.full)};
    tile = query_tile;
    at = static_cast<int>(blockIdx.y);
  }
  if (tile >= bits.tiles) return;
  bits.words[(static_cast<int64_t>(set) * bits.tiles + tile) * bits.words_per_tile + at] = word;
}

/// One warp a tile: how many live tiles it has.
__global__ void count_kernel(TileBits bits, int total) {
  const int tile = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (tile >= total) return;
  const TileWord* words = bits.words + static_cast<int64_t>(tile) * bits.words_per_tile;
  unsigned count = 0;
  for (int i = static_cast<int>(threadIdx.x % 32); i < bits.words_per_tile; i += 32) {
    count += static_cast<unsigned>(__popc(words[i].live));
  }
  count = __reduce_add_sync(kAllLanes, count);
  if (threadIdx.x % 32 == 0) bits.counts[tile] = static_cast<int>(count);
}

/// Places each tile by its rank: more work first, lower tile first among equals.
__global__ void order_kernel(TileBits bits) {
  const int tile = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (tile >= bits.tiles) return;
  const int* counts = bits.counts + static_cast<int64_t>(blockIdx.y) * bits.tiles;
  const int mine = counts[tile];
  int rank = 0;
  for (int i = 0; i < bits.tiles; ++i) {
    const int other = counts[i];
    rank += other > mine || (other == mine && i < tile);
  }
  bits.order[static_cast<int64_t>(blockIdx.y) * bits.tiles + rank] = tile;
}

/// FlashMask's columns to four clipped bounds a key.
__global__ void import_kernel(StartendColumns from, DeviceColumns mask, ColumnBounds* bounds) {
  const int key = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (key >= mask.key_length) return;
  const int* entry = from.data + blockIdx.y * from.set_stride + key * from.stride;
  const int rows = mask.query_length;
  const auto bound = [&](int i) { return min(max(entry[i], 0), rows); };
  ColumnBounds column{rows, rows, 0, 0};
  if (from.columns == 1 || from.columns == 2) column.lts = bound(0);
  if (from.columns == 2 && mask.causal) column.lte = bound(1);
  if (from.columns == 2 && !mask.causal) column.ute = bound(1);
  if (from.columns == 4) column = {bound(0), bound(1), bound(2), bound(3)};
  bounds[static_cast<int64_t>(blockIdx.y) * mask.key_length + key] = column;
}

unsigned blocks_for(int64_t work, int each) {
  return static_cast<unsigned>((work + each - 1) / each);
}

}  // namespace

int launch_import(const StartendColumns& from, const DeviceColumns& mask, ColumnBounds* bounds,
                  CUstream_st* stream) {
  const dim3 grid(blocks_for(mask.key_length, 256),
                  static_cast<unsigned>(mask.batches * mask.heads));
  import_kernel<<<grid, 256, 0, stream>>>(from, mask, bounds);
  return cudaGetLastError();
}

namespace {

/// One thread a word: all tiles of the other axis are live.
__global__ void show_all_kernel(TileBits bits, int total, int others) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= total * bits.words_per_tile) return;
  const int left = others - i % bits.words_per_tile * 32;
  bits.words[i].live = left >= 32 ? ~0u : (1u << left) - 1;
  if (i % bits.words_per_tile == 0) bits.counts[i / bits.words_per_tile] = others;
}

/// One thread a query tile, through the key tiles from the last to the first.
__global__ void turns_kernel(TileBits bits, int query_tiles, uint16_t* turns) {
  const int query_tile = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (query_tile >= query_tiles) return;
  uint16_t count = 0;
#pragma unroll 4
  for (int key_tile = bits.tiles - 1; key_tile >= 0; --key_tile) {
    const int64_t list = int64_t{blockIdx.y} * bits.tiles + key_tile;
    turns[list * query_tiles + query_tile] = count;
    const uint32_t live = bits.words[list * bits.words_per_tile + query_tile / 32].live;
    count += (live >> (query_tile % 32)) & 1u;
  }
}

}  // namespace

int launch_turns(const DeviceColumns& mask, const TileBits& by_key, uint16_t* turns,
                 CUstream_st* stream) {
  const unsigned query_tiles = blocks_for(mask.query_length, by_key.rows);
  const auto sets = static_cast<unsigned>(mask.batches * mask.heads);
  turns_kernel<<<dim3(blocks_for(query_tiles, 128), sets), 128, 0, stream>>>(
      by_key, static_cast<int>(query_tiles), turns);
  return cudaGetLastError();
}

int launch_show_all(const DeviceColumns& mask, TileAxis axis, const TileBits& bits,
                    CUstream_st* stream) {
  const int total = mask.batches * mask.heads * bits.tiles;
  const unsigned others = axis == TileAxis::query ? blocks_for(mask.key_length, bits.keys)
                                                  : blocks_for(mask.query_length, bits.rows);
  show_all_kernel<<<blocks_for(total * bits.words_per_tile, 256), 256, 0, stream>>>(
      bits, total, static_cast<int>(others));
  return cudaGetLastError();
}

int launch_plan(const DeviceColumns& mask, TileAxis axis, const TileBits& bits,
                CUstream_st* stream) {
  const auto sets = static_cast<unsigned>(mask.batches * mask.heads);
  const unsigned query_groups = blocks_for(blocks_for(mask.query_length, bits.rows), 32);
  const unsigned key_groups = blocks_for(blocks_for(mask.key_length, bits.keys), 32);
  plan_kernel<<<dim3(query_groups, key_groups, sets), kWarps * 32, 0, stream>>>(mask, axis, bits);
  const int total = static_cast<int>(sets) * bits.tiles;
  count_kernel<<<blocks_for(total, kWarps), kWarps * 32, 0, stream>>>(bits, total);
  order_kernel<<<dim3(blocks_for(bits.tiles, 128), sets), 128, 0, stream>>>(bits);
  return cudaGetLastError();
}

}  // namespace heddle::cuda
