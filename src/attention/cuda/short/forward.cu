// Forward of attention for short documents: a warp has 16 queries of one head and goes over the
// blocks of 16 keys that they look at, as sm80/forward.cuh does over tiles.
#include "heddle/attention/cuda/short/rows.cuh"

namespace heddle::attention::cuda::shorts {

namespace {

/// What one lane holds of rows lane / 4 and lane / 4 + 8.
struct Softmax {
  float top[2] = {-kInfinity, -kInfinity};  // greatest score so far
  float sum[2] = {0, 0};                    // this lane's share

  /// S [16, 16] becomes P; `o` is brought to the new maximum.
  __device__ void apply(float (&s)[2][4], Sums& o, float factor) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float greatest = fmaxf(fmaxf(s[0][2 * r], s[0][2 * r + 1]), fmaxf(s[1][2 * r], s[1][2 * r + 1]));
      greatest = fmaxf(greatest, __shfl_xor_sync(kAllLanes, greatest, 1));
      greatest = fmaxf(greatest, __shfl_xor_sync(kAllLanes, greatest, 2));
      greatest = fmaxf(greatest, top[r]);
      const float shift = greatest == -kInfinity ? 0 : __fmul_rn(greatest, factor);
      const float old = sm80::exp2_fast(__fmul_rn(top[r], factor) - shift);
      top[r] = greatest;
      float added = 0;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; ++e) {
          s[n][e] = sm80::exp2_fast(fmaf(s[n][e], factor, -shift));
          added += s[n][e];
        }
      }
      sum[r] = fmaf(sum[r], old, added);
#pragma unroll
      for (int n = 0; n < kE / 8; ++n) {
        o.at[0][n][2 * r] *= old;
        o.at[0][n][2 * r + 1] *= old;
      }
    }
  }
};

template <typename T>
__device__ inline void copy_keys(const ForwardLaunch& p, const Own& own, int kv_head, int first,
                                 uint32_t tiles) {
  const int length = p.problem.mask.key_length, columns = p.problem.head_dim;
  copy_rows(tiles, head_rows<const T>(p.k, own.batch, kv_head), p.k.row_stride, first, length,
            columns);
  copy_rows(tiles + kTileBytes, head_rows<const T>(p.v, own.batch, kv_head), p.v.row_stride, first,
            length, columns);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 4)
    forward_kernel(const __grid_constant__ Forward params, const float factor) {
  __shared__ __align__(128) unsigned char memory[kWarps][2][2 * kTileBytes];
  const ForwardLaunch& p = params.launch;
  const DeviceColumns& mask = p.problem.mask;
  const Own own = own_rows(p.problem.heads, mask.query_length);
  if (own.first >= mask.query_length) return;
  const int kv_head = own.head / (p.problem.heads / p.problem.kv_heads);
  unsigned char* const stages = memory[threadIdx.x / 32][0];
  const uint32_t stage_at = sm80::shared_address(stages);
  KeyWalk walk(mask, params.spans, mask_set(mask, own.batch, kv_head), own.first);
  copy_rows(stage_at + 2 * kTileBytes, head_rows<const T>(p.q, own.batch, own.head),
            p.q.row_stride, own.first, mask.query_length, p.problem.head_dim);
  if (walk.key >= 0) copy_keys<T>(p, own, kv_head, walk.key, stage_at);
  sm80::commit_copies();
  sm80::wait_copies<0>();
  __syncwarp();
  Left q;
  q.load(stage_at + 2 * kTileBytes);
  Sums o;
  Softmax softmax;
  for (uint32_t stage = 0; walk.key >= 0; stage ^= 1) {
    uint32_t rows[2][2];  // that look at this lane's keys
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) rows[n][e] = walk.rows_of(n, e);
    }
    walk.next(mask);
    __syncwarp();  // all lanes have read the other stage
    if (walk.key >= 0) {
      copy_keys<T>(p, own, kv_head, walk.key, stage_at + (stage ^ 1) * 2 * kTileBytes);
    }
    sm80::commit_copies();
    sm80::wait_copies<1>();
    __syncwarp();
    const uint32_t keys = stage_at + stage * 2 * kTileBytes;
    float s[2][4];  // [rows, keys]
    multiply<T>(s, q, keys);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if ((rows[n][i % 2] >> (i / 2 * 8) & 1) == 0) s[n][i] = -kInfinity;
      }
    }
    softmax.apply(s, o, factor);
    o.add<T>(s, keys + kTileBytes);
  }
  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = softmax.sum[r];
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    const bool blind = softmax.top[r] == -kInfinity;
    inverse[r] = blind ? 0 : 1 / sum;
    const int row = own.first + lane_of() / 4 + r * 8;
    if (lane_of() % 4 == 0 && row < mask.query_length) {
      head_values(p.lse, own.batch, own.head)[row] =
          blind ? -kInfinity : (softmax.top[r] * factor + log2f(sum)) * kLn2;
    }
  }
  o.store<T>(inverse[0], inverse[1], stages, head_rows<T>(p.out, own.batch, own.head),
             p.out.row_stride, own.first, mask.query_length, p.problem.head_dim);
}

}  // namespace

int forward(const Forward& p) {
  const Problem& problem = p.launch.problem;
  const auto kernel = problem.bf16 ? forward_kernel<__nv_bfloat16> : forward_kernel<__half>;
  kernel<<<blocks_of(problem.batches, problem.heads, problem.mask.query_length), kThreads, 0,
           problem.stream>>>(p, problem.scale * kLog2E);
  return cudaGetLastError();
}

}  // namespace heddle::attention::cuda::shorts
