// Backward of attention for short documents, in two kernels, without atomic additions: a warp has
// 16 queries and sums their dQ (and writes Δ), then a warp has 16 keys and sums their dK and dV.
// The formulas are those of sm80/backward.cuh.
#include <type_traits>

#include "heddle/attention/cuda/dot.cuh"
#include "heddle/attention/cuda/short/rows.cuh"

namespace heddle::attention::cuda::shorts {

namespace {

/// Δ[i] = Σ_e out[i, e] · d_out[i, e] of the warp's rows, written; this lane gets rows lane / 4 and
/// lane / 4 + 8. Two lanes share a row.
template <typename T>
__device__ inline void row_sums(const BackwardLaunch& p, const Own& own, float (&delta)[2]) {
  using T2 = std::conditional_t<__is_same(T, __half), __half2, __nv_bfloat162>;
  const int row = own.first + lane_of() / 2, length = p.problem.mask.query_length;
  const int64_t at = min(row, length - 1);
  const auto* out = reinterpret_cast<const uint4*>(head_rows<const T>(p.out, own.batch, own.head) +
                                                   at * p.out.row_stride);
  const auto* d_out = reinterpret_cast<const uint4*>(
      head_rows<const T>(p.d_out, own.batch, own.head) + at * p.d_out.row_stride);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kE / 16; ++i) {
    const int chunk = 2 * i + lane_of() % 2;
    if (chunk * 8 < p.problem.head_dim) sum += dot8<T2>(out[chunk], d_out[chunk]);
  }
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  if (lane_of() % 2 == 0 && row < length) head_values(p.delta, own.batch, own.head)[row] = sum;
  for (int r = 0; r < 2; ++r) delta[r] = __shfl_sync(kAllLanes, sum, lane_of() / 4 * 2 + r * 16);
}

template <typename T>
__device__ inline void copy_keys(const BackwardLaunch& p, const Own& own, int kv_head, int first,
                                 uint32_t tiles) {
  const int length = p.problem.mask.key_length, columns = p.problem.head_dim;
  copy_rows(tiles, head_rows<const T>(p.k, own.batch, kv_head), p.k.row_stride, first, length,
            columns);
  copy_rows(tiles + kTileBytes, head_rows<const T>(p.v, own.batch, kv_head), p.v.row_stride, first,
            length, columns);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 3)
    query_gradient_kernel(const __grid_constant__ Backward params) {
  __shared__ __align__(128) unsigned char memory[kWarps][2][2 * kTileBytes];
  const BackwardLaunch& p = params.launch;
  const DeviceColumns& mask = p.problem.mask;
  const Own own = own_rows(p.problem.heads, mask.query_length);
  if (own.first >= mask.query_length) return;
  const int kv_head = own.head / (p.problem.heads / p.problem.kv_heads);
  unsigned char* const stages = memory[threadIdx.x / 32][0];
  const uint32_t stage_at = sm80::shared_address(stages);
  KeyWalk walk(mask, params.spans, mask_set(mask, own.batch, kv_head), own.first);
  const uint32_t rows_at = stage_at + 2 * kTileBytes;
  copy_rows(rows_at, head_rows<const T>(p.q, own.batch, own.head), p.q.row_stride, own.first,
            mask.query_length, p.problem.head_dim);
  copy_rows(rows_at + kTileBytes, head_rows<const T>(p.d_out, own.batch, own.head),
            p.d_out.row_stride, own.first, mask.query_length, p.problem.head_dim);
  if (walk.key >= 0) copy_keys<T>(p, own, kv_head, walk.key, stage_at);
  sm80::commit_copies();
  float delta[2], lse[2];
  row_sums<T>(p, own, delta);
  for (int r = 0; r < 2; ++r) {
    const int row = min(own.first + lane_of() / 4 + r * 8, mask.query_length - 1);
    lse[r] = head_values(p.lse, own.batch, own.head)[row] * kLog2E;
  }
  const float factor = p.problem.scale * kLog2E;
  sm80::wait_copies<0>();
  __syncwarp();
  Left q, d_out;
  q.load(rows_at);
  d_out.load(rows_at + kTileBytes);
  Sums d_q;
  for (uint32_t stage = 0; walk.key >= 0; stage ^= 1) {
    uint32_t rows[2][2];
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
    float s[2][4], dp[2][4];  // [rows, keys]
    multiply<T>(s, q, keys);
    multiply<T>(dp, d_out, keys + kTileBytes);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float share = sm80::exp2_fast(fmaf(s[n][i], factor, -lse[i / 2]));
        const bool visible = (rows[n][i % 2] >> (i / 2 * 8) & 1) != 0;
        s[n][i] = visible ? share * (dp[n][i] - delta[i / 2]) : 0;
      }
    }
    d_q.add<T>(s, keys);
  }
  d_q.store<T>(p.problem.scale, p.problem.scale, stages, head_rows<T>(p.d_q, own.batch, own.head),
               p.d_q.row_stride, own.first, mask.query_length, p.problem.head_dim);
}

/// Blocks of 16 queries, of each head of a group, that look at some of 16 keys.
class QueryWalk {
 public:
  /// `column` is that of key lane % 16.
  __device__ QueryWalk(const MaskColumn& column, const DeviceColumns& mask, bool skips, int heads)
      : column_(column), length_(mask.query_length), skips_(skips), heads_(heads) {
    const RowSpan rows = skips ? visible_span(column, length_) : RowSpan{0, length_};
    const bool none = rows.begin >= rows.end;
    begin_ = __reduce_min_sync(kAllLanes, none ? length_ : rows.begin) / kRows;
    end_ = (__reduce_max_sync(kAllLanes, none ? 0 : rows.end) - 1 + kRows) / kRows;
    block_ = begin_;
    next();
  }

  int row = -1;    ///< the first of the block, −1: no more
  int member = 0;  ///< of the group's heads
  uint32_t rows;   ///< that look at this lane's key

  __device__ void next() {
    row = -1;
    while (row < 0) {
      if (block_ >= end_) {
        if (begin_ >= end_ || member + 1 >= heads_) return;
        ++member;
        block_ = begin_;
      }
      rows = rows_that_see(column_, block_ * kRows, length_);
      if (!skips_ || __any_sync(kAllLanes, rows != 0)) row = block_ * kRows;
      ++block_;
    }
  }

 private:
  MaskColumn column_;
  int length_;
  bool skips_;
  int heads_, begin_, end_, block_;
};

/// Q, dO, lse and Δ of a block.
struct QueryStage {
  unsigned char q[kTileBytes], d_out[kTileBytes];
  float lse[kRows], delta[kRows];
  float unused[32];  // stages begin at multiples of 128 bytes
};
static_assert(sizeof(QueryStage) % 128 == 0);

template <typename T>
__device__ inline void copy_queries(const BackwardLaunch& p, int batch, int head, int first,
                                    const QueryStage& stage) {
  const int length = p.problem.mask.query_length, columns = p.problem.head_dim;
  copy_rows(sm80::shared_address(stage.q), head_rows<const T>(p.q, batch, head), p.q.row_stride,
            first, length, columns);
  copy_rows(sm80::shared_address(stage.d_out), head_rows<const T>(p.d_out, batch, head),
            p.d_out.row_stride, first, length, columns);
  const int row = lane_of() % kRows;
  const float* from = head_values(lane_of() < kRows ? p.lse : p.delta, batch, head);
  const float* to = lane_of() < kRows ? stage.lse : stage.delta;
  const bool valid = first + row < length;
  sm80::copy_async_4(sm80::shared_address(to + row), valid ? from + first + row : from, valid);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 3)
    key_gradients_kernel(const __grid_constant__ Backward params) {
  __shared__ __align__(128) QueryStage memory[kWarps][2];
  const BackwardLaunch& p = params.launch;
  const DeviceColumns& mask = p.problem.mask;
  const Own own = own_rows(p.problem.kv_heads, mask.key_length);
  if (own.first >= mask.key_length) return;
  const int group = p.problem.heads / p.problem.kv_heads, columns = p.problem.head_dim;
  QueryStage(&stages)[2] = memory[threadIdx.x / 32];
  const int set = mask_set(mask, own.batch, own.head);
  QueryWalk walk(column_of(mask, set, own.first + lane_of() % kRows), mask, params.spans.skips,
                 group);
  const uint32_t keys_at = sm80::shared_address(stages[1].q);
  copy_rows(keys_at, head_rows<const T>(p.k, own.batch, own.head), p.k.row_stride, own.first,
            mask.key_length, columns);
  copy_rows(keys_at + kTileBytes, head_rows<const T>(p.v, own.batch, own.head), p.v.row_stride,
            own.first, mask.key_length, columns);
  const auto copy = [&](int stage) {
    copy_queries<T>(p, own.batch, own.head * group + walk.member, walk.row, stages[stage]);
  };
  if (walk.row >= 0) copy(0);
  sm80::commit_copies();
  sm80::wait_copies<0>();
  __syncwarp();
  Left k, v;
  k.load(keys_at);
  v.load(keys_at + kTileBytes);
  Sums d_k, d_v;
  const float factor = p.problem.scale * kLog2E;
  for (int stage = 0; walk.row >= 0; stage ^= 1) {
    uint32_t rows[2];  // that look at keys lane / 4 and lane / 4 + 8, from lane % 4 · 2 on
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      rows[r] = __shfl_sync(kAllLanes, walk.rows, lane_of() / 4 + r * 8) >> (lane_of() % 4 * 2);
    }
    walk.next();
    __syncwarp();  // all lanes have read the other stage
    if (walk.row >= 0) copy(stage ^ 1);
    sm80::commit_copies();
    sm80::wait_copies<1>();
    __syncwarp();
    const QueryStage& block = stages[stage];
    const uint32_t q = sm80::shared_address(block.q), d_out = sm80::shared_address(block.d_out);
    float s[2][4], dp[2][4];  // [keys, rows]
    multiply<T>(s, k, q);
    multiply<T>(dp, v, d_out);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int at = n * 8 + lane_of() % 4 * 2 + e;
        const float lse = block.lse[at] * kLog2E, delta = block.delta[at];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const bool visible = (rows[r] >> (n * 8 + e) & 1) != 0;
          float& share = s[n][2 * r + e];
          share = visible ? sm80::exp2_fast(fmaf(share, factor, -lse)) : 0;
          dp[n][2 * r + e] = visible ? share * (dp[n][2 * r + e] - delta) : 0;
        }
      }
    }
    d_v.add<T>(s, d_out);
    d_k.add<T>(dp, q);
  }
  const float scale = p.problem.scale;
  d_k.store<T>(scale, scale, stages[0].q, head_rows<T>(p.d_k, own.batch, own.head),
               p.d_k.row_stride, own.first, mask.key_length, columns);
  d_v.store<T>(1, 1, stages[0].d_out, head_rows<T>(p.d_v, own.batch, own.head), p.d_v.row_stride,
               own.first, mask.key_length, columns);
}

}  // namespace

int backward(const Backward& p) {
  const Problem& problem = p.launch.problem;
  const auto by_query =
      problem.bf16 ? query_gradient_kernel<__nv_bfloat16> : query_gradient_kernel<__half>;
  by_query<<<blocks_of(problem.batches, problem.heads, problem.mask.query_length), kThreads, 0,
             problem.stream>>>(p);
  const auto by_key =
      problem.bf16 ? key_gradients_kernel<__nv_bfloat16> : key_gradients_kernel<__half>;
  by_key<<<blocks_of(problem.batches, problem.kv_heads, problem.mask.key_length), kThreads, 0,
           problem.stream>>>(p);
  return cudaGetLastError();
}

}  // namespace heddle::attention::cuda::shorts
