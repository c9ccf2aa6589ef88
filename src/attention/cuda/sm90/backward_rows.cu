// What goes before and after the backward's main kernel, a block a query tile:
//   prepare: the row terms lse · log2(e) and Δ = Σ_e out · d_out; dQ's sums to zero
//   convert: dQ = scale · sums, from the order of the matrix unit's registers to rows of 16 bits
#include "heddle/attention/cuda/dot.cuh"
#include "heddle/attention/cuda/sm90/backward.h"
#include "heddle/attention/cuda/sm90/ptx.cuh"

namespace heddle::attention::cuda::sm90 {

namespace {

constexpr int kThreads = 256;
constexpr int kThreadsPerRow = 8;  // 8 × 16 bytes: whole memory transactions
constexpr float kLog2E = 1.44269504088896f;

/// Rows that see nothing, or lie past the end, get lse = +∞: their P is exp2(x − ∞) = 0.
template <typename Pair, int kRows, int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const __grid_constant__ BackwardParams p) {
  const BackwardLaunch& launch = p.launch;
  const int tile = blockIdx.x, head = blockIdx.y, batch = blockIdx.z;
  const int length = launch.problem.mask.query_length;
  const int64_t at = (int64_t{batch} * launch.problem.heads + head) * launch.query_tiles + tile;
  auto* sums = reinterpret_cast<float4*>(launch.d_q_sum + at * (kRows * kHeadDim));
#pragma unroll
  for (int i = 0; i < kRows * kHeadDim / 4 / kThreads; ++i) {
    sums[i * kThreads + threadIdx.x] = make_float4(0, 0, 0, 0);
  }
  if (p.scratch.served != nullptr && threadIdx.x < 2) p.scratch.served[at * 2 + threadIdx.x] = 0;

  float* terms = p.scratch.row_terms + at * (2 * kRows);
  const int lane = threadIdx.x % kThreadsPerRow;
  constexpr int kRounds = kRows * kThreadsPerRow / kThreads, kChunks = kHeadDim / 64;
  uint4 out[kRounds][kChunks] = {}, d_out[kRounds][kChunks] = {};  // all loads before any use
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int row = tile * kRows + (i * kThreads + threadIdx.x) / kThreadsPerRow;
    const auto source = [&](const Rows& rows) {
      return reinterpret_cast<const uint4*>(
          static_cast<const Pair*>(rows.data) +
          (batch * rows.batch_stride + head * rows.head_stride + row * rows.row_stride) / 2);
    };
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const int chunk = lane + j * kThreadsPerRow;
      if (row >= length || chunk * 8 >= launch.problem.head_dim) continue;
      out[i][j] = __ldcs(source(launch.out) + chunk);
      d_out[i][j] = __ldg(source(launch.d_out) + chunk);
    }
  }
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int in_tile = (i * kThreads + threadIdx.x) / kThreadsPerRow;
    const int row = tile * kRows + in_tile;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kChunks; ++j) sum += dot8<Pair>(out[i][j], d_out[i][j]);
#pragma unroll
    for (int step = 1; step < kThreadsPerRow; step *= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    if (lane != 0) continue;
    const RowValues& from = launch.lse;
    const float lse = row < length
                          ? from.data[batch * from.batch_stride + head * from.head_stride + row]
                          : -INFINITY;
    terms[in_tile] = lse == -INFINITY ? INFINITY : lse * kLog2E;
    terms[kRows + in_tile] = sum;
    const RowValues& to = launch.delta;
    if (row < length && to.data != nullptr) {
      to.data[batch * to.batch_stride + head * to.head_stride + row] = sum;
    }
  }
}

/// Transposes a 4 × 4 of words held by four neighbouring lanes, a row each.
__device__ void transpose_quad(uint32_t (&words)[4]) {
  const bool odd = threadIdx.x % 2 != 0, high = threadIdx.x / 2 % 2 != 0;
  const auto swap = [](bool second, uint32_t& a, uint32_t& b, int distance) {
    const uint32_t got = __shfl_xor_sync(0xffffffffu, second ? a : b, distance);
    (second ? a : b) = got;
  };
  swap(odd, words[0], words[1], 1);
  swap(odd, words[2], words[3], 1);
  swap(high, words[0], words[2], 2);
  swap(high, words[1], words[3], 2);
}

/// A tile's sums are parts of [8][128 threads][4]: see wgmma.cuh for which element a thread holds.
/// Parts are 64 rows of tiles of 128, 64 columns of tiles of 64.
template <typename Element, int kRows, int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    convert_kernel(const __grid_constant__ BackwardParams p) {
  constexpr int kParts = kRows * kHeadDim / 4096;
  const BackwardLaunch& launch = p.launch;
  const int tile = blockIdx.x / (kParts / 2), head = blockIdx.y, batch = blockIdx.z;
  const int64_t at = (int64_t{batch} * launch.problem.heads + head) * launch.query_tiles + tile;
  const int part = blockIdx.x % (kParts / 2) * 2 + threadIdx.x / 128;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const auto* sums = reinterpret_cast<const float4*>(launch.d_q_sum + (at * kParts + part) * 4096) +
                     threadIdx.x % 128;
  const int row = tile * kRows + (kRows == 128 ? part * 64 : 0) + warp * 16 + lane / 4;
  const int quad_lane = lane % 4;
  const Rows& rows = launch.d_q;
  auto* to = static_cast<Element*>(rows.data) + batch * rows.batch_stride + head * rows.head_stride;
  float4 sum[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) sum[j] = __ldcs(sums + j * 128);
  const float scale = launch.problem.scale;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    // Four blocks of 8 columns, of which a lane holds 2 each: it takes one of them whole.
    const int column = (kRows == 128 ? 0 : part * 64) + half * 32 + quad_lane * 8;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float4& four = sum[half * 4 + j];
        words[j] = r == 0 ? pack<Element>(four.x * scale, four.y * scale)
                          : pack<Element>(four.z * scale, four.w * scale);
      }
      transpose_quad(words);
      const bool valid =
          row + 8 * r < launch.problem.mask.query_length && column < launch.problem.head_dim;
      if (!valid) continue;
      *reinterpret_cast<uint4*>(to + (row + 8 * r) * rows.row_stride + column) =
          make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
}

/// Calls body with the type of two elements, that of one, and the tile's rows and columns.
template <typename Body>
void with_shape(const Problem& problem, const Body& body) {
  const auto of_type = [&]<typename Pair, typename Element>() {
    switch (padded_head_dim(problem.head_dim)) {
      case 64:
        return body.template operator()<Pair, Element, 128, 64>();
      case 128:
        return body.template operator()<Pair, Element, 64, 128>();
      default:
        return body.template operator()<Pair, Element, 64, 256>();
    }
  };
  if (problem.bf16) {
    of_type.template operator()<__nv_bfloat162, __nv_bfloat16>();
  } else {
    of_type.template operator()<__half2, __half>();
  }
}

dim3 a_block_a_tile(const BackwardParams& params) {
  const Problem& problem = params.launch.problem;
  return {static_cast<unsigned>(params.launch.query_tiles), static_cast<unsigned>(problem.heads),
          static_cast<unsigned>(problem.batches)};
}

}  // namespace

cudaError_t backward_prepare(const BackwardParams& params) {
  const Problem& problem = params.launch.problem;
  with_shape(problem, [&]<typename Pair, typename Element, int kRows, int kHeadDim>() {
    prepare_kernel<Pair, kRows, kHeadDim>
        <<<a_block_a_tile(params), kThreads, 0, problem.stream>>>(params);
  });
  return cudaGetLastError();
}

cudaError_t backward_convert(const BackwardParams& params) {
  const Problem& problem = params.launch.problem;
  with_shape(problem, [&]<typename Pair, typename Element, int kRows, int kHeadDim>() {
    dim3 grid = a_block_a_tile(params);
    grid.x *= kRows * kHeadDim / 8192;
    convert_kernel<Element, kRows, kHeadDim><<<grid, kThreads, 0, problem.stream>>>(params);
  });
  return cudaGetLastError();
}

}  // namespace heddle::attention::cuda::sm90
