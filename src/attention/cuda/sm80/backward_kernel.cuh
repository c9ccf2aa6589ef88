// The backward's main kernel, the one that brings dQ's sums to 16 bits, and their launcher.
#pragma once

#include "heddle/attention/cuda/sm80/backward.cuh"

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

/// Pᵀ and dSᵀ of the warp's keys and part of the rows, packed, without what the mask hides.
template <typename Traits>
__device__ inline void score_tile(const BackwardLaunch& p, const Work& work, int head,
                                  PackedTile tile, uint32_t shared, int stage,
                                  uint32_t (&packed_p)[Traits::kM][Traits::kN][2],
                                  uint32_t (&packed_ds)[Traits::kM][Traits::kN][2]) {
  using T = typename Traits::T;
  float s[Traits::kM][Traits::kN][4], dp[Traits::kM][Traits::kN][4];  // [keys, rows]
  {
    const WarpPlace<Traits> place;
    const int row = tile.index() * Traits::kRows + place.row(),
              key = work.tile * Traits::kKeys + place.key;
    multiply_rows<T, Traits::kE>(s, place.keys(shared),
                                 place.rows(shared + Traits::kQueriesAt, stage));
    probabilities<Traits>(s, packed_p, p.problem, ScoreOptions(p.problem, head),
                          place.values(shared + Traits::kLseAt, stage), row + place.lane % 4 * 2,
                          key + place.lane / 4);
  }
  {
    const WarpPlace<Traits> place;
    multiply_rows<T, Traits::kE>(dp, place.keys(shared + Traits::kValuesAt),
                                 place.rows(shared + Traits::kGradientsAt, stage));
    score_gradients<Traits>(s, dp, packed_ds, place.values(shared + Traits::kDeltaAt, stage));
  }
  if (tile.partial()) {
    const WarpPlace<Traits> place;
    hide_pairs<Traits>(
        packed_p, packed_ds, p.problem.mask, shared + Traits::kBoundsAt + place.key * 16,
        tile.index() * Traits::kRows + place.row(), work.tile * Traits::kKeys + place.key);
  }
}

template <typename Traits>
__global__ void __launch_bounds__(Traits::kThreads, Traits::kBlocks)
    backward_kernel(const __grid_constant__ BackwardLaunch p) {
  extern __shared__ __align__(128) unsigned char memory[];
  const uint32_t shared = shared_address(memory);
  const Work work = work_of_block(p.problem, p.by_key, 1);
  QueryWalk walk(p, work);
  PackedTile tile = walk.next(p, work);
  int head = walk.head;
  if (tile.exists()) {
    load_key_tile<Traits>(p, work, shared);
    load_rows<Traits>(p, work.batch, head, tile.index(), shared, 0);
    commit_copies();
  }
  float d_k[Traits::kM][Traits::kColumns][4] = {};  // [keys, E]
  float d_v[Traits::kM][Traits::kColumns][4] = {};
  int stage = 0;
  while (tile.exists()) {
    PackedTile next;
    wait_copies<0>();
    __syncthreads();  // the tile is here, and no warp reads the one before it any more
    if constexpr (Traits::kStages == 2) {
      next = walk.next(p, work);
      if (next.exists()) {
        load_rows<Traits>(p, work.batch, walk.head, next.index(), shared, stage ^ 1);
        commit_copies();
      }
    }
    uint32_t packed_p[Traits::kM][Traits::kN][2], packed_ds[Traits::kM][Traits::kN][2];
    score_tile<Traits>(p, work, head, tile, shared, stage, packed_p, packed_ds);
    const uint32_t rows = shared + stage * Traits::kRowBytes;
    share<Traits>(shared + Traits::kProbabilitiesAt, packed_p);
    add_own<Traits>(d_v, packed_p, rows + Traits::kGradientsAt);
    share<Traits>(shared + Traits::kScoresAt, packed_ds);
    add_own<Traits>(d_k, packed_ds, rows + Traits::kQueriesAt);
    __syncthreads();  // all parts of P and dS are in shared memory
    add_others<Traits>(d_v, shared + Traits::kProbabilitiesAt, rows + Traits::kGradientsAt);
    add_others<Traits>(d_k, shared + Traits::kScoresAt, rows + Traits::kQueriesAt);
    if (p.d_q_sum != nullptr) {
      const int64_t sums =
          (static_cast<int64_t>(work.batch) * p.problem.heads + head) * p.query_tiles +
          tile.index();
      add_queries<Traits>(p.d_q_sum + sums * Traits::kSumsPerTile, shared);
    }
    if constexpr (Traits::kStages == 2) {
      stage ^= 1;
    } else {
      next = walk.next(p, work);
      __syncthreads();
      if (next.exists()) load_rows<Traits>(p, work.batch, walk.head, next.index(), shared, 0);
      commit_copies();
    }
    tile = next;
    head = walk.head;
  }
  __syncthreads();
  const WarpPlace<Traits> place;
  store_key_gradients<Traits>(p, work, memory, d_k, d_v, place.key, place.part);
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
  if (p.d_q_sum != nullptr) {
    const dim3 grid(static_cast<unsigned>(p.query_tiles), static_cast<unsigned>(p.problem.heads),
                    static_cast<unsigned>(p.problem.batches));
    convert_kernel<Traits><<<grid, Traits::kThreads, 0, p.problem.stream>>>(p);
  }
  return cudaGetLastError();
}

template <typename T, int kHeadDim, SharedMemory kMemory>
int backward_of(const BackwardLaunch& p) {
  constexpr Tile kShape = tile(80, kHeadDim, Direction::backward, kMemory);
  const bool options = p.problem.softcap > 0 || p.problem.alibi_slopes != nullptr;
  constexpr Tile kRoomy{kShape.rows, kShape.keys, kShape.warps, kShape.stages,
                        kShape.blocks > 1 ? kShape.blocks - 1 : 1};  // more registers
  return options ? launch_backward<BackwardTraits<T, kHeadDim, kRoomy, true>>(p)
                 : launch_backward<BackwardTraits<T, kHeadDim, kShape, false>>(p);
}

template <int kHeadDim, SharedMemory kMemory = SharedMemory::kb227>
int backward(const BackwardLaunch& p) {
  return p.problem.bf16 ? backward_of<__nv_bfloat16, kHeadDim, kMemory>(p)
                        : backward_of<__half, kHeadDim, kMemory>(p);
}

}  // namespace heddle::attention::cuda::sm80
