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
      float greatest =
          fmaxf(fmaxf(s[0][2 * r], s[0][2 * r + 1]), fmaxf(s[1][2 * r], s[1][2 * r + 1]));
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

constexpr int kStageBytes = 2 * kTileBytes;  // K and V of a block

constexpr int kBlocks = 4;  // on a processor

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    forward_kernel(const __grid_constant__ Forward params, const float factor) {
  extern __shared__ __align__(128) unsigned char memory[];
  const ForwardLaunch& p = params.launch;
  const DeviceColumns& mask = p.problem.mask;
  const int group = p.problem.heads / p.problem.kv_heads;
  unsigned char* const stages = memory + threadIdx.x / 32 * kStages * kStageBytes;
  const uint32_t stage_at = sm80::shared_address(stages), rows_at = stage_at + 2 * kStageBytes;
  Share share(p.problem.batches, p.problem.heads, mask.query_length);
  KeySpans::Keys keys_coming = keys_of_next(share, mask, params.spans, group);
  while (!share.done()) {
    const Own own = share.own();
    const int kv_head = own.head / group;
    copy_rows(rows_at, head_rows<const T>(p.q, own.batch, own.head), p.q.row_stride, own.first,
              mask.query_length, p.problem.head_dim);
    sm80::commit_copies();
    KeyWalk walk(mask, keys_coming, params.spans.skips, mask_set(mask, own.batch, kv_head),
                 own.first);
    share.advance();
    keys_coming = keys_of_next(share, mask, params.spans, group);
    const auto copy = [&](const Block& block, int stage) {
      if (block.first >= 0) {
        copy_keys<T>(p, own.batch, kv_head, block.first, stage_at + stage * kStageBytes);
      }
      sm80::commit_copies();
    };
    Block block = walk.next(mask);
    copy(block, 0);
    Block second = walk.next(mask);
    copy(second, 1);
    sm80::wait_copies<2>();
    __syncwarp();
    Left q;
    q.load(rows_at);
    Sums o;
    Softmax softmax;
    for (int stage = 0; block.first >= 0; stage = stage_after(stage)) {
      const Block third = walk.next(mask);
      __syncwarp();  // all lanes have read what the third goes over
      copy(third, stage_after(stage_after(stage)));
      sm80::wait_copies<2>();
      __syncwarp();
      const uint32_t keys = stage_at + stage * kStageBytes;
      float s[2][4];  // [rows, keys]
      multiply<T>(s, q, keys);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const uint32_t rows = rows_of(block, n, e);
          if ((rows & 1) == 0) s[n][e] = -kInfinity;
          if ((rows >> 8 & 1) == 0) s[n][2 + e] = -kInfinity;
        }
      }
      softmax.apply(s, o, factor);
      o.add<T>(s, keys + kTileBytes);
      block = second;
      second = third;
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
    __syncwarp();
  }
}

}  // namespace

int forward(const Forward& p) {
  const Problem& problem = p.launch.problem;
  const auto kernel = problem.bf16 ? forward_kernel<__nv_bfloat16> : forward_kernel<__half>;
  return launch(kernel, groups_of(problem.batches, problem.heads, problem.mask.query_length),
                kBlocks, kStages * kStageBytes, p, problem.scale * kLog2E);
}

}  // namespace heddle::attention::cuda::shorts
