// dQ alone, one block a (sequence, head, query tile), over the live key tiles: the deterministic
// companion of the main backward kernel. Each sum has one owner and one order, at the price of
// computing S and dP twice.
//
//   S = Q Kᵀ,  P = exp(S − lse),  dP = dO Vᵀ,  dS = P ∘ (dP − Δ),  dQ += dS K     [rows, keys]
#pragma once

#include "heddle/attention/cuda/sm80/block.cuh"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda::sm80 {

template <typename Element, int kHeadDim, Tile kShape, bool kHasOptions>
struct QueryGradientTraits {
  using T = Element;
  static constexpr int kE = kHeadDim;
  static constexpr int kRows = kShape.rows, kKeys = kShape.keys;
  static constexpr int kWarps = kShape.warps, kThreads = kWarps * 32, kStages = kShape.stages;
  static_assert(kRows == kWarps * 16);
  static constexpr bool kOptions = kHasOptions;
  static constexpr int kN = kKeys / 8;
  static constexpr uint32_t kPitch = TileLayout<kE>::kPitch;
  static constexpr uint32_t kRowBytes = kRows * kPitch, kTileBytes = kKeys * kPitch;
  // Shared memory: Q, dO, stages of K, of V and of the key tile's bounds, each warp's visible
  // words.
  static constexpr uint32_t kGradientsAt = kRowBytes;
  static constexpr uint32_t kKeysAt = 2 * kRowBytes;
  static constexpr uint32_t kValuesAt = kKeysAt + kStages * kTileBytes;
  static constexpr uint32_t kBoundsAt = kValuesAt + kStages * kTileBytes;
  static constexpr uint32_t kBoundsBytes = kKeys * sizeof(ColumnBounds);
  static constexpr uint32_t kWordsAt = kBoundsAt + kStages * kBoundsBytes;
  static constexpr uint32_t kSharedBytes = kWordsAt + kWarps * kKeys * 4;
};

template <typename Traits>
__device__ inline void load_key_tiles(const BackwardLaunch& p, const Work& work, LiveTile tile,
                                      uint32_t shared, int stage) {
  using T = typename Traits::T;
  const int begin = tile.index * Traits::kKeys, keys = p.problem.mask.key_length;
  copy_tile<Traits::kE, Traits::kKeys, Traits::kThreads>(
      shared + Traits::kKeysAt + stage * Traits::kTileBytes,
      head_rows<const T>(p.k, work.batch, work.kv_head), p.k.row_stride, begin, keys,
      p.problem.head_dim);
  copy_tile<Traits::kE, Traits::kKeys, Traits::kThreads>(
      shared + Traits::kValuesAt + stage * Traits::kTileBytes,
      head_rows<const T>(p.v, work.batch, work.kv_head), p.v.row_stride, begin, keys,
      p.problem.head_dim);
  const int thread = fresh_thread();
  if (tile.partial && thread < Traits::kKeys) {
    const bool valid = begin + thread < keys;
    const ColumnBounds* bounds = p.problem.mask.bounds + static_cast<int64_t>(work.set) * keys +
                                 (valid ? begin + thread : 0);
    copy_async_16(shared + Traits::kBoundsAt + stage * Traits::kBoundsBytes + thread * 16, bounds,
                  valid);
  }
}

/// S and dP to dS in `s`, for this lane's rows row and row + 8 and keys from `key`.
template <typename Traits>
__device__ inline void to_score_gradients(float (&s)[1][Traits::kN][4],
                                          const float (&dp)[1][Traits::kN][4],
                                          const BackwardLaunch& p, const ScoreOptions& options,
                                          const float (&lse)[2], const float (&delta)[2], int row,
                                          int key) {
#pragma unroll
  for (int n = 0; n < Traits::kN; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float slope = 1, x = s[0][n][i] * (p.problem.scale * kLog2E);
      if constexpr (Traits::kOptions) {
        x = options.apply(s[0][n][i], row + i / 2 * 8, key + n * 8 + i % 2, slope);
      }
      const float probability = exp2_fast(x - lse[i / 2] * kLog2E);
      s[0][n][i] = probability * slope * (dp[0][n][i] - delta[i / 2]);
    }
  }
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads)
    query_gradient_kernel(const __grid_constant__ BackwardLaunch p) {
  using T = typename Traits::T;
  extern __shared__ __align__(128) unsigned char memory[];
  const uint32_t shared = shared_address(memory);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp_row = static_cast<int>(threadIdx.x / 32) * 16;
  const int rows = p.problem.mask.query_length;
  const Work work = work_of_block(p.problem, p.by_query, p.problem.heads / p.problem.kv_heads);
  const int first = work.tile * Traits::kRows;
  TileWalk walk(p.by_query, work.set, work.tile);
  LiveTile tile = walk.next(p.by_query);
  if (tile.index >= 0) {
    copy_tile<Traits::kE, Traits::kRows, Traits::kThreads>(
        shared, head_rows<const T>(p.q, work.batch, work.head), p.q.row_stride, first, rows,
        p.problem.head_dim);
    copy_tile<Traits::kE, Traits::kRows, Traits::kThreads>(
        shared + Traits::kGradientsAt, head_rows<const T>(p.d_out, work.batch, work.head),
        p.d_out.row_stride, first, rows, p.problem.head_dim);
    load_key_tiles<Traits>(p, work, tile, shared, 0);
    commit_copies();
  }
  const int row = first + warp_row + lane / 4;
  float lse[2], delta[2];
  for (int r = 0; r < 2; ++r) {
    const int at = min(row + r * 8, rows - 1);
    lse[r] = head_values(p.lse, work.batch, work.head)[at];
    delta[r] = head_values(p.delta, work.batch, work.head)[at];
  }
  const ScoreOptions options(p.problem, work.head);
  const uint32_t q_rows = shared + warp_row * Traits::kPitch + LaneOffset<Traits::kE>::rows16(lane);
  const uint32_t k_rows = shared + Traits::kKeysAt + LaneOffset<Traits::kE>::rows8(lane);
  const uint32_t k_steps = shared + Traits::kKeysAt + LaneOffset<Traits::kE>::rows16(lane);
  float d_q[1][Traits::kE / 8][4] = {};  // [rows, E]
  int stage = 0;
  while (tile.index >= 0) {
    const LiveTile next = walk.next(p.by_query);
    wait_copies<0>();
    __syncthreads();  // the tile is here, and no warp reads the one before it any more
    if (Traits::kStages == 2 && next.index >= 0) {
      load_key_tiles<Traits>(p, work, next, shared, stage ^ 1);
      commit_copies();
    }
    const uint32_t at = stage * Traits::kTileBytes;
    const int key = tile.index * Traits::kKeys;
    const uint32_t words = shared + Traits::kWordsAt + warp_row / 16 * Traits::kKeys * 4;
    float s[1][Traits::kN][4], dp[1][Traits::kN][4];  // [rows, keys]
    multiply_rows<T, Traits::kE>(s, q_rows, k_rows + at);
    multiply_rows<T, Traits::kE>(dp, q_rows + Traits::kGradientsAt,
                                 k_rows + at + Traits::kValuesAt - Traits::kKeysAt);
    to_score_gradients<Traits>(s, dp, p, options, lse, delta, row, key + lane % 4 * 2);
    if (tile.partial) {
      store_visible<Traits::kKeys>(words, p.problem.mask,
                                   shared + Traits::kBoundsAt + stage * Traits::kBoundsBytes,
                                   first + warp_row, key);
      hide(s, words, 0);
    }
#pragma unroll
    for (int step = 0; step < Traits::kKeys / 16; ++step) {
      uint32_t a[1][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = &s[0][2 * step + i / 2][(i % 2) * 2];
        a[0][i] = pack<T>(pair[0], pair[1]);
      }
      multiply_step<T>(d_q, a, k_steps + at + step * 16 * Traits::kPitch, 0);
    }
    if constexpr (Traits::kStages == 2) {
      stage ^= 1;
    } else {
      __syncthreads();
      if (next.index >= 0) load_key_tiles<Traits>(p, work, next, shared, 0);
      commit_copies();
    }
    tile = next;
  }
  const float scale = p.problem.scale;
  __syncwarp();  // all lanes have read their rows of Q
  store_fragments<T, Traits::kE>(shared, d_q[0], scale, scale, warp_row, 0);
  __syncwarp();
  const int count = min(16, rows - first - warp_row);
  if (count <= 0) return;
  store_tile<Traits::kE>(memory + warp_row * Traits::kPitch,
                         head_rows<T>(p.d_q, work.batch, work.head), p.d_q.row_stride,
                         first + warp_row, count, p.problem.head_dim, lane, 32);
}

template <typename Traits>
int launch_query_gradient(const BackwardLaunch& p) {
  const auto kernel = query_gradient_kernel<Traits>;
  const auto bytes = static_cast<int>(Traits::kSharedBytes);
  if (p.by_query.rows != Traits::kRows || p.by_query.keys != Traits::kKeys) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status != cudaSuccess) return status;
  const int blocks = p.problem.batches * p.problem.heads * p.by_query.tiles;
  kernel<<<static_cast<unsigned>(blocks), Traits::kThreads, bytes, p.problem.stream>>>(p);
  return cudaGetLastError();
}

template <typename T, int kHeadDim, SharedMemory kMemory>
int query_gradient_of(const BackwardLaunch& p) {
  constexpr Tile kShape = tile(80, kHeadDim, Direction::query_gradient, kMemory);
  const bool options = p.problem.softcap > 0 || p.problem.alibi_slopes != nullptr;
  return options ? launch_query_gradient<QueryGradientTraits<T, kHeadDim, kShape, true>>(p)
                 : launch_query_gradient<QueryGradientTraits<T, kHeadDim, kShape, false>>(p);
}

template <int kHeadDim, SharedMemory kMemory = SharedMemory::kb227>
int query_gradient(const BackwardLaunch& p) {
  return p.problem.bf16 ? query_gradient_of<__nv_bfloat16, kHeadDim, kMemory>(p)
                        : query_gradient_of<__half, kHeadDim, kMemory>(p);
}

}  // namespace heddle::attention::cuda::sm80
