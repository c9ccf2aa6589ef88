// Forward of attention with mma.sync: one block a (sequence, head, query tile), FlashAttention-2
// (arXiv 2307.08691) over the live key tiles of a mask.
//
//   for each live key tile j:  S = Q K_jᵀ            [rows, keys]
//     m' = max(m, rowmax S),  P = exp(S − m'),  l = l·exp(m − m') + rowsum P
//     O = O·exp(m − m') + P V_j                      [rows, E]
//   out = O / l,  lse = m + ln l
//
// Scores are kept unscaled and everything is in powers of 2: exp(scale·(s − m)) = exp2(c·s − c·m).
// A partial tile sets what the mask hides to −inf before the maximum; a full tile runs no mask
// code.
#pragma once

#include "heddle/attention/cuda/sm80/block.cuh"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda::sm80 {

template <typename Element, int kHeadDim, Tile kShape, bool kHasOptions>
struct ForwardTraits {
  using T = Element;
  static constexpr int kE = kHeadDim;
  static constexpr int kRows = kShape.rows, kKeys = kShape.keys;
  static constexpr int kWarps = kShape.warps, kThreads = kWarps * 32;
  static constexpr int kStages = kShape.stages, kBlocks = kShape.blocks;
  static constexpr bool kOptions = kHasOptions;
  static constexpr int kM = kRows / kWarps / 16;  // 16-row fragments a warp
  static constexpr int kN = kKeys / 8;
  static constexpr uint32_t kPitch = TileLayout<kE>::kPitch;
  static constexpr uint32_t kQueryBytes = kRows * kPitch, kTileBytes = kKeys * kPitch;
  static constexpr uint32_t kBoundsBytes = kKeys * sizeof(ColumnBounds);
  static constexpr uint32_t kWordsBytes = kKeys * 4;  // a warp
  // Shared memory: Q, stages of K, of V and of the key tile's bounds, each warp's visible words.
  static constexpr uint32_t kKeysAt = kQueryBytes;
  static constexpr uint32_t kValuesAt = kKeysAt + kStages * kTileBytes;
  static constexpr uint32_t kBoundsAt = kValuesAt + kStages * kTileBytes;
  static constexpr uint32_t kWordsAt = kBoundsAt + kStages * kBoundsBytes;
  static constexpr uint32_t kSharedBytes = kWordsAt + kWarps * kWordsBytes;
};

/// What one thread holds of its rows.
template <typename Traits>
struct ForwardState {
  float o[Traits::kM][Traits::kE / 8][4];
  float m[Traits::kM][2];  // greatest score so far
  float l[Traits::kM][2];  // this lane's share of the sum

  __device__ ForwardState() {
#pragma unroll
    for (int i = 0; i < Traits::kM; ++i) {
#pragma unroll
      for (int n = 0; n < Traits::kE / 8; ++n)
        o[i][n][0] = o[i][n][1] = o[i][n][2] = o[i][n][3] = 0;
      m[i][0] = m[i][1] = -kInfinity;
      l[i][0] = l[i][1] = 0;
    }
  }
};

template <typename Traits>
__device__ inline void apply_options(float (&s)[Traits::kM][Traits::kN][4],
                                     const ScoreOptions& options, int row, int key) {
  float unused;
#pragma unroll
  for (int m = 0; m < Traits::kM; ++m) {
#pragma unroll
    for (int n = 0; n < Traits::kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[m][n][i] =
            options.apply(s[m][n][i], row + m * 16 + (i / 2) * 8, key + n * 8 + i % 2, unused);
      }
    }
  }
}

/// Online softmax: S becomes P, and the state's sums are brought to the new maximum. `factor`
/// brings scores to powers of 2.
template <typename Traits>
__device__ inline void softmax(float (&s)[Traits::kM][Traits::kN][4], ForwardState<Traits>& state,
                               float factor) {
#pragma unroll
  for (int m = 0; m < Traits::kM; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float greatest = state.m[m][r];
#pragma unroll
      for (int n = 0; n < Traits::kN; ++n) {
        greatest = fmaxf(greatest, fmaxf(s[m][n][2 * r], s[m][n][2 * r + 1]));
      }
      greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
      greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
      // A row that has seen no key yet: any finite number keeps −inf − (−inf) away.
      const float shift = greatest == -kInfinity ? 0 : __fmul_rn(greatest, factor);
      // Not fused: exactly 1 while the maximum stays, else the sums would drift tile by tile.
      const float old = exp2_fast(__fmul_rn(state.m[m][r], factor) - shift);
      state.m[m][r] = greatest;
      float sum = 0;  // of the tile alone: long rows lose less to rounding
#pragma unroll
      for (int n = 0; n < Traits::kN; ++n) {
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; ++e) {
          s[m][n][e] = exp2_fast(fmaf(s[m][n][e], factor, -shift));
          sum += s[m][n][e];
        }
      }
      state.l[m][r] = fmaf(state.l[m][r], old, sum);
#pragma unroll
      for (int n = 0; n < Traits::kE / 8; ++n) {
        state.o[m][n][2 * r] *= old;
        state.o[m][n][2 * r + 1] *= old;
      }
    }
  }
}

/// O += P V.
template <typename Traits>
__device__ inline void add_values(ForwardState<Traits>& state,
                                  const float (&p)[Traits::kM][Traits::kN][4], uint32_t values) {
#pragma unroll
  for (int step = 0; step < Traits::kKeys / 16; ++step) {
    uint32_t a[Traits::kM][4];
#pragma unroll
    for (int m = 0; m < Traits::kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = &p[m][2 * step + i / 2][(i % 2) * 2];
        a[m][i] = pack<typename Traits::T>(pair[0], pair[1]);
      }
    }
    multiply_step<typename Traits::T>(state.o, a, values + step * 16 * Traits::kPitch, 0);
  }
}

/// out and lse of this warp's rows; the tile of Q is free to pass the numbers through.
template <typename Traits>
__device__ inline void finish(const ForwardLaunch& p, const Work& work, ForwardState<Traits>& state,
                              unsigned char* tile, int warp_row, float factor) {
  using T = typename Traits::T;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int rows = p.problem.mask.query_length, first = work.tile * Traits::kRows + warp_row;
  float* lse = head_values(p.lse, work.batch, work.head);
  const float* sinks = p.problem.sinks;
  __syncwarp();  // all lanes have read their rows of Q
#pragma unroll
  for (int m = 0; m < Traits::kM; ++m) {
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = state.l[m][r];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      float top = state.m[m][r] * factor, share = 1;
      const bool blind = state.m[m][r] == -kInfinity;
      if (sinks != nullptr && !blind) {  // one more logit, without a value
        const float sink = sinks[work.head] * kLog2E, higher = fmaxf(top, sink);
        share = exp2_fast(top - higher);
        sum = sum * share + exp2_fast(sink - higher);
        top = higher;
      }
      inverse[r] = blind ? 0 : share / sum;
      const int row = first + m * 16 + lane / 4 + r * 8;
      if (lane % 4 == 0 && row < rows) {
        lse[row] = blind ? -kInfinity : (top + log2f(sum)) * kLn2;
      }
    }
    store_fragments<T, Traits::kE>(shared_address(tile), state.o[m], inverse[0], inverse[1],
                                   warp_row + m * 16, 0);
  }
  __syncwarp();
  const int count = min(Traits::kM * 16, rows - first);
  if (count <= 0) return;
  store_tile<Traits::kE>(tile + warp_row * Traits::kPitch,
                         head_rows<T>(p.out, work.batch, work.head), p.out.row_stride, first, count,
                         p.problem.head_dim, lane, 32);
}

/// Where this block's keys and values are, and its work: in shared memory, fetched at each use.
template <typename T>
struct KeySources {
  Work work;
  ParkedPointer<const T> k, v;
  ParkedPointer<const ColumnBounds> bounds;

  __device__ void set(const ForwardLaunch& p, const Work& its_work) {
    work = its_work;
    k.set(head_rows<const T>(p.k, work.batch, work.kv_head));
    v.set(head_rows<const T>(p.v, work.batch, work.kv_head));
    bounds.set(p.problem.mask.bounds + static_cast<int64_t>(work.set) * p.problem.mask.key_length);
  }
};

/// Starts copying a key tile of K and, when partial, its bounds.
template <typename Traits>
__device__ inline void load_keys(const ForwardLaunch& p,
                                 const KeySources<typename Traits::T>& sources, LiveTile tile,
                                 uint32_t shared, int stage) {
  const int begin = tile.index * Traits::kKeys, keys = p.problem.mask.key_length;
  const int thread = fresh_thread();
  copy_tile<Traits::kE, Traits::kKeys, Traits::kThreads>(
      shared + Traits::kKeysAt + stage * Traits::kTileBytes, sources.k.get(), p.k.row_stride, begin,
      keys, p.problem.head_dim);
  if (tile.partial && thread < Traits::kKeys) {
    const bool valid = begin + thread < keys;
    copy_async_16(shared + Traits::kBoundsAt + stage * Traits::kBoundsBytes + thread * 16,
                  sources.bounds.get() + (valid ? begin + thread : 0), valid);
  }
}

template <typename Traits>
__device__ inline void load_values(const ForwardLaunch& p,
                                   const KeySources<typename Traits::T>& sources, LiveTile tile,
                                   uint32_t shared, int stage) {
  copy_tile<Traits::kE, Traits::kKeys, Traits::kThreads>(
      shared + Traits::kValuesAt + stage * Traits::kTileBytes, sources.v.get(), p.v.row_stride,
      tile.index * Traits::kKeys, p.problem.mask.key_length, p.problem.head_dim);
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kBlocks)
    forward_kernel(const __grid_constant__ ForwardLaunch p, const float factor) {
  using T = typename Traits::T;
  extern __shared__ __align__(128) unsigned char memory[];
  const uint32_t shared = shared_address(memory);
  __shared__ KeySources<T> sources;
  if (threadIdx.x == 0) {
    sources.set(p, work_of_block(p.problem, p.by_query, p.problem.heads / p.problem.kv_heads));
  }
  __syncthreads();
  const Work& work = sources.work;
  TileWalk walk(p.by_query, work.set, work.tile);
  LiveTile tile = walk.next(p.by_query);
  if (tile.index >= 0) {
    copy_tile<Traits::kE, Traits::kRows, Traits::kThreads>(
        shared, head_rows<const T>(p.q, work.batch, work.head), p.q.row_stride,
        work.tile * Traits::kRows, p.problem.mask.query_length, p.problem.head_dim);
    load_keys<Traits>(p, sources, tile, shared, 0);
    if constexpr (Traits::kStages == 2) load_values<Traits>(p, sources, tile, shared, 0);
    commit_copies();
  }
  ForwardState<Traits> state;
  int stage = 0;
  while (tile.index >= 0) {
    LiveTile next;
    wait_copies<0>();
    __syncthreads();  // the tile is here, and no warp reads the one before it any more
    if constexpr (Traits::kStages == 2) {
      next = walk.next(p.by_query);
      if (next.index >= 0) {
        load_keys<Traits>(p, sources, next, shared, stage ^ 1);
        load_values<Traits>(p, sources, next, shared, stage ^ 1);
      }
    } else {
      load_values<Traits>(p, sources, tile, shared, 0);
    }
    commit_copies();
    // A warp whose rows see none of these keys has nothing to do but keep the others company.
    const int warp = fresh_thread() / 32, lane = fresh_thread() % 32;
    const int key = tile.index * Traits::kKeys;
    const int row = work.tile * Traits::kRows + warp * Traits::kM * 16;
    const uint32_t words = shared + Traits::kWordsAt + warp * Traits::kWordsBytes;
    const bool live =
        !tile.partial || store_visible<Traits::kKeys>(
                             words, p.problem.mask,
                             shared + Traits::kBoundsAt + stage * Traits::kBoundsBytes, row, key);
    float s[Traits::kM][Traits::kN][4];  // [rows, keys]
    if (live) {
      multiply_rows<T, Traits::kE>(
          s,
          shared + warp * Traits::kM * 16 * Traits::kPitch + LaneOffset<Traits::kE>::rows16(lane),
          shared + Traits::kKeysAt + stage * Traits::kTileBytes +
              LaneOffset<Traits::kE>::rows8(lane));
      if constexpr (Traits::kOptions) {
        apply_options<Traits>(s, ScoreOptions(p.problem, work.head), row + lane / 4,
                              key + lane % 4 * 2);
      }
      if (tile.partial) hide(s, words, -kInfinity);
    }
    if constexpr (Traits::kStages == 1) {
      next = walk.next(p.by_query);
      wait_copies<0>();
      __syncthreads();  // V is here, and no warp reads K any more
      if (next.index >= 0) load_keys<Traits>(p, sources, next, shared, 0);
      commit_copies();
    }
    if (live) {
      softmax<Traits>(s, state, factor);
      add_values<Traits>(state, s,
                         shared + Traits::kValuesAt + stage * Traits::kTileBytes +
                             LaneOffset<Traits::kE>::rows16(fresh_thread() % 32));
    }
    if constexpr (Traits::kStages == 2) stage ^= 1;
    tile = next;
  }
  finish<Traits>(p, work, state, memory, fresh_thread() / 32 * Traits::kM * 16, factor);
}

/// Queues the kernel; more than 48 KB of shared memory must be asked for.
template <typename Traits>
int launch_forward(const ForwardLaunch& p) {
  const auto kernel = forward_kernel<Traits>;
  const auto bytes = static_cast<int>(Traits::kSharedBytes);
  if (p.by_query.rows != Traits::kRows || p.by_query.keys != Traits::kKeys) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status != cudaSuccess) return status;
  const int blocks = p.problem.batches * p.problem.heads * p.by_query.tiles;
  const float factor = Traits::kOptions ? 1.0f : p.problem.scale * kLog2E;
  kernel<<<static_cast<unsigned>(blocks), Traits::kThreads, bytes, p.problem.stream>>>(p, factor);
  return cudaGetLastError();
}

template <typename T, int kHeadDim>
int forward_of(const ForwardLaunch& p) {
  constexpr Tile kShape = tile(80, kHeadDim, Direction::forward);
  // The plain kernel takes the greatest score before scaling, which needs a positive scale.
  if (p.problem.softcap > 0 || p.problem.alibi_slopes != nullptr || p.problem.scale <= 0) {
    constexpr Tile kWide{kShape.rows, kShape.keys, kShape.rows / 16, kShape.stages,
                         1};  // registers
    return launch_forward<ForwardTraits<T, kHeadDim, kWide, true>>(p);
  }
  return launch_forward<ForwardTraits<T, kHeadDim, kShape, false>>(p);
}

template <int kHeadDim>
int forward(const ForwardLaunch& p) {
  return p.problem.bf16 ? forward_of<__nv_bfloat16, kHeadDim>(p) : forward_of<__half, kHeadDim>(p);
}

}  // namespace heddle::attention::cuda::sm80
