// The backward's main kernel, the one that brings dQ's sums to 16 bits, and their launcher.
#pragma once

#include "heddle/attention/cuda/sm80/backward.cuh"
#include "heddle/attention/cuda/sm80/query_gradient.cuh"

namespace heddle::attention::cuda::sm80 {

/// Writes this warp's dK and dV through the tiles of K and V, which are free by now.
template <typename Traits>
__device__ inline void store_key_gradients(const BackwardLaunch& p, const Work& work,
                                           unsigned char* memory,
                                           const float (&d_k)[Traits::kM][Traits::kColumns][4],
                                           const float (&d_v)[Traits::kM][Traits::kColumns][4],
                                           int key, int part) {
  using T = typename Traits::T;
  const uint32_t shared = shared_address(memory);
#pragma unroll
  for (int m = 0; m < Traits::kM; ++m) {
    const float scale = p.problem.scale;
    store_fragments<T, Traits::kE>(shared, d_k[m], scale, scale, key + m * 16,
                                   part * Traits::kColumns);
    store_fragments<T, Traits::kE>(shared + Traits::kValuesAt, d_v[m], 1, 1, key + m * 16,
                                   part * Traits::kColumns);
  }
  __syncthreads();
  const int begin = work.tile * Traits::kKeys;
  const int count = min(Traits::kKeys, p.problem.mask.key_length - begin);
  const int thread = static_cast<int>(threadIdx.x), columns = p.problem.head_dim;
  store_tile<Traits::kE>(memory, head_rows<T>(p.d_k, work.batch, work.kv_head), p.d_k.row_stride,
                         begin, count, columns, thread, Traits::kThreads);
  store_tile<Traits::kE>(memory + Traits::kValuesAt, head_rows<T>(p.d_v, work.batch, work.kv_head),
                         p.d_v.row_stride, begin, count, columns, thread, Traits::kThreads);
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kBlocks)
    backward_kernel(const __grid_constant__ BackwardLaunch p) {
  using T = typename Traits::T;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int part = warp / Traits::kKeyGroups, warp_key = warp % Traits::kKeyGroups * 32;
  const Work work = work_of_block(p.problem, p.by_key, 1);
  QueryWalk walk(p, work);
  LiveTile next = walk.next(p);
  int next_head = walk.head;
  if (next.index >= 0) {
    load_key_tile<Traits>(p, work, shared);
    load_rows<Traits>(p, work.batch, next_head, next.index, shared, 0);
    commit_copies();
  }
  const uint32_t own_rows = part * (Traits::kRows / Traits::kParts);
  const uint32_t k_rows = shared + warp_key * Traits::kPitch + LaneOffset<Traits::kE>::rows16(lane);
  const uint32_t q_rows = shared + Traits::kQueriesAt + LaneOffset<Traits::kE>::rows8(lane);
  const uint32_t q_steps = shared + Traits::kQueriesAt + LaneOffset<Traits::kE>::rows16(lane);
  const uint32_t scores = shared + Traits::kScoresAt + warp_key * Traits::kScorePitch +
                          LaneOffset<Traits::kRows>::rows16(lane);
  float d_k[Traits::kM][Traits::kColumns][4] = {};  // [keys, E]
  float d_v[Traits::kM][Traits::kColumns][4] = {};
  int stage = 0;
  while (next.index >= 0) {
    const LiveTile tile = next;
    const int head = next_head;
    next = walk.next(p);
    next_head = walk.head;
    wait_copies<0>();
    __syncthreads();  // the tile is here, and no warp reads the one before it any more
    if (Traits::kStages == 2 && next.index >= 0) {
      load_rows<Traits>(p, work.batch, next_head, next.index, shared, stage ^ 1);
      commit_copies();
    }
    const uint32_t at = stage * Traits::kRowBytes;
    constexpr uint32_t kToGradients = Traits::kGradientsAt - Traits::kQueriesAt;
    const int row = tile.index * Traits::kRows + own_rows + lane % 4 * 2;
    const int key = work.tile * Traits::kKeys + warp_key + lane / 4;
    const uint32_t row_values = (stage * Traits::kRows + own_rows + lane % 4 * 2) * 4;
    uint32_t packed_p[Traits::kM][Traits::kN][2], packed_ds[Traits::kM][Traits::kN][2];
    {
      float s[Traits::kM][Traits::kN][4], dp[Traits::kM][Traits::kN][4];  // [keys, rows]
      multiply_rows<T, Traits::kE>(s, k_rows, q_rows + at + own_rows * Traits::kPitch);
      probabilities<Traits>(s, packed_p, p.problem, ScoreOptions(p.problem, head),
                            shared + Traits::kLseAt + row_values, row, key);
      multiply_rows<T, Traits::kE>(dp, k_rows + Traits::kValuesAt,
                                   q_rows + kToGradients + at + own_rows * Traits::kPitch);
      score_gradients<Traits>(s, dp, packed_ds, shared + Traits::kDeltaAt + row_values);
    }
    if (tile.partial) {
      hide_pairs<Traits>(packed_p, packed_ds, p.problem.mask,
                         shared + Traits::kBoundsAt + (warp_key + lane / 4) * 16, row, key);
    }
    share<Traits>(shared + Traits::kProbabilitiesAt, packed_p, warp_key, part);
    share<Traits>(shared + Traits::kScoresAt, packed_ds, warp_key, part);
    add_own<Traits>(d_v, packed_p, q_steps + kToGradients + at, part);
    add_own<Traits>(d_k, packed_ds, q_steps + at, part);
    __syncthreads();  // all parts of P and dS are in shared memory
    add_others<Traits>(d_v, scores - Traits::kScoresAt + Traits::kProbabilitiesAt,
                       q_steps + kToGradients + at, part);
    add_others<Traits>(d_k, scores, q_steps + at, part);
    if constexpr (Traits::kSumQueries) {
      const int64_t sums =
          (static_cast<int64_t>(work.batch) * p.problem.heads + head) * p.query_tiles + tile.index;
      add_queries<Traits>(p.d_q_sum + sums * Traits::kSumsPerTile, shared);
    }
    if constexpr (Traits::kStages == 2) {
      stage ^= 1;
    } else {
      __syncthreads();
      if (next.index >= 0) load_rows<Traits>(p, work.batch, next_head, next.index, shared, 0);
      commit_copies();
    }
  }
  __syncthreads();
  store_key_gradients<Traits>(p, work, memory, d_k, d_v, warp_key, part);
}

/// dQ = scale · the sums of a tile, from the order of the threads to rows.
template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads)
    convert_kernel(const __grid_constant__ BackwardLaunch p) {
  using T = typename Traits::T;
  const int tile = static_cast<int>(blockIdx.x), batch = static_cast<int>(blockIdx.z);
  const int head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t at = (static_cast<int64_t>(batch) * p.problem.heads + head) * p.query_tiles + tile;
  const float* from = p.d_q_sum + at * Traits::kSumsPerTile +
                      warp * (Traits::kSumsPerTile / Traits::kWarps) + lane * 4;
  const int first = tile * Traits::kRows + warp % Traits::kRowGroups * 32 + lane / 4;
  const int column = warp / Traits::kRowGroups * Traits::kQueryColumns * 8 + lane % 4 * 2;
  T* to = head_rows<T>(p.d_q, batch, head);
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int n = 0; n < Traits::kQueryColumns; ++n) {
      const float4 sum =
          *reinterpret_cast<const float4*>(from + (m * Traits::kQueryColumns + n) * 128);
      const float scale = p.problem.scale;
      if (column + n * 8 >= p.problem.head_dim) continue;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = first + m * 16 + r * 8;
        if (row >= p.problem.mask.query_length) continue;
        *reinterpret_cast<uint32_t*>(to + row * p.d_q.row_stride + column + n * 8) =
            r == 0 ? pack<T>(sum.x * scale, sum.y * scale) : pack<T>(sum.z * scale, sum.w * scale);
      }
    }
  }
}

template <typename Traits>
int launch_backward(const BackwardLaunch& p) {
  const auto kernel = backward_kernel<Traits>;
  const auto bytes = static_cast<int>(Traits::kSharedBytes);
  if (p.by_key.rows != Traits::kRows || p.by_key.keys != Traits::kKeys) {
    return cudaErrorInvalidValue;
  }
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status != cudaSuccess) return status;
  const int blocks = p.problem.batches * p.problem.kv_heads * p.by_key.tiles;
  kernel<<<static_cast<unsigned>(blocks), Traits::kThreads, bytes, p.problem.stream>>>(p);
  if constexpr (Traits::kSumQueries) {
    const dim3 grid(static_cast<unsigned>(p.query_tiles), static_cast<unsigned>(p.problem.heads),
                    static_cast<unsigned>(p.problem.batches));
    convert_kernel<Traits><<<grid, Traits::kThreads, 0, p.problem.stream>>>(p);
  }
  return cudaGetLastError();
}

template <typename T, int kHeadDim, bool kOptions>
int backward_with(const BackwardLaunch& p) {
  constexpr Tile kShape = tile(80, kHeadDim, Direction::backward);
  if (!p.deterministic) {
    return launch_backward<BackwardTraits<T, kHeadDim, kShape, kOptions, true>>(p);
  }
  const int status = launch_backward<BackwardTraits<T, kHeadDim, kShape, kOptions, false>>(p);
  return status != cudaSuccess ? status : launch_query_gradient<T, kHeadDim, kOptions>(p);
}

template <typename T, int kHeadDim>
int backward_of(const BackwardLaunch& p) {
  const bool options = p.problem.softcap > 0 || p.problem.alibi_slopes != nullptr;
  return options ? backward_with<T, kHeadDim, true>(p) : backward_with<T, kHeadDim, false>(p);
}

template <int kHeadDim>
int backward(const BackwardLaunch& p) {
  return p.problem.bf16 ? backward_of<__nv_bfloat16, kHeadDim>(p)
                        : backward_of<__half, kHeadDim>(p);
}

}  // namespace heddle::attention::cuda::sm80
