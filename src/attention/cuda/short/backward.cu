// Backward of attention for short documents, in two kernels, without atomic additions: a warp has
// 16 queries and sums their dQ (and writes Δ), then a warp has 16 keys and sums their dK and dV.
// The formulas are those of sm80/backward.cuh.
#include <type_traits>

#include "heddle/attention/cuda/dot.cuh"
#include "heddle/attention/cuda/short/rows.cuh"

namespace heddle::attention::cuda::shorts {

namespace {

/// Δ[i] = Σ_e out[i, e] · d_out[i, e] of the warp's rows, from two tiles, written; this lane gets
/// rows lane / 4 and lane / 4 + 8. Two lanes share a row.
template <typename T>
__device__ inline void row_sums(const BackwardLaunch& p, const Own& own, const unsigned char* out,
                                const unsigned char* d_out, float (&delta)[2]) {
  using T2 = std::conditional_t<__is_same(T, __half), __half2, __nv_bfloat162>;
  const int row = lane_of() / 2;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kE / 16; ++i) {
    const auto at = Layout::at(row, 2 * i + lane_of() % 2);
    sum += dot8<T2>(*reinterpret_cast<const uint4*>(out + at),
                    *reinterpret_cast<const uint4*>(d_out + at));
  }
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  if (lane_of() % 2 == 0 && own.first + row < p.problem.mask.query_length) {
    head_values(p.delta, own.batch, own.head)[own.first + row] = sum;
  }
  for (int r = 0; r < 2; ++r) delta[r] = __shfl_sync(kAllLanes, sum, lane_of() / 4 * 2 + r * 16);
}

constexpr int kBlocks = 3;  // on a processor

/// A warp's share of a block's memory. Its Q and dO lie in the last stage until they are registers.
struct QueryMemory {
  unsigned char out[kTileBytes];
  struct Stage {
    unsigned char k[kTileBytes], v[kTileBytes];
  } stages[kStages];
};

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    query_gradient_kernel(const __grid_constant__ Backward params) {
  extern __shared__ __align__(128) unsigned char memory[];
  const BackwardLaunch& p = params.launch;
  const DeviceColumns& mask = p.problem.mask;
  const int group = p.problem.heads / p.problem.kv_heads;
  QueryMemory& mine = reinterpret_cast<QueryMemory*>(memory)[threadIdx.x / 32];
  QueryMemory::Stage& own_rows = mine.stages[kStages - 1];
  Share share(p.problem.batches, p.problem.heads, mask.query_length);
  KeySpans::Keys keys_coming = keys_of_next(share, mask, params.spans, group);
  while (!share.done()) {
    const Own own = share.own();
    const int kv_head = own.head / group;
    const auto copy_own = [&](unsigned char* to, const Rows& rows) {
      copy_rows(sm80::shared_address(to), head_rows<const T>(rows, own.batch, own.head),
                rows.row_stride, own.first, mask.query_length, p.problem.head_dim);
    };
    copy_own(own_rows.k, p.q);
    copy_own(own_rows.v, p.d_out);
    copy_own(mine.out, p.out);
    sm80::commit_copies();
    float delta[2], lse[2];
    for (int r = 0; r < 2; ++r) {
      const int row = min(own.first + lane_of() / 4 + r * 8, mask.query_length - 1);
      lse[r] = head_values(p.lse, own.batch, own.head)[row] * kLog2E;
    }
    KeyWalk walk(mask, keys_coming, params.spans.skips, mask_set(mask, own.batch, kv_head),
                 own.first);
    share.advance();
    keys_coming = keys_of_next(share, mask, params.spans, group);
    const auto copy = [&](const Block& block, int stage) {
      if (block.first >= 0) {
        copy_keys<T>(p, own.batch, kv_head, block.first,
                     sm80::shared_address(mine.stages[stage].k));
      }
      sm80::commit_copies();
    };
    Block block = walk.next(mask);
    copy(block, 0);
    Block second = walk.next(mask);
    copy(second, 1);
    const float factor = p.problem.scale * kLog2E;
    sm80::wait_copies<2>();
    __syncwarp();
    row_sums<T>(p, own, mine.out, own_rows.v, delta);
    Left q, d_out;
    q.load(sm80::shared_address(own_rows.k));
    d_out.load(sm80::shared_address(own_rows.v));
    Sums d_q;
    for (int stage = 0; block.first >= 0; stage = stage_after(stage)) {
      const Block third = walk.next(mask);
      __syncwarp();  // all lanes have read what the third goes over
      copy(third, stage_after(stage_after(stage)));
      sm80::wait_copies<2>();
      __syncwarp();
      const uint32_t keys = sm80::shared_address(mine.stages[stage].k);
      float s[2][4], dp[2][4];  // [rows, keys]
      multiply<T>(s, q, keys);
      multiply<T>(dp, d_out, keys + kTileBytes);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const uint32_t rows = rows_of(block, n, e);
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            float& d = s[n][2 * r + e];
            const float share_of = sm80::exp2_fast(fmaf(d, factor, -lse[r]));
            const bool visible = (rows >> (r * 8) & 1) != 0;
            d = visible ? share_of * (dp[n][2 * r + e] - delta[r]) : 0;
          }
        }
      }
      d_q.add<T>(s, keys);
      block = second;
      second = third;
    }
    d_q.store<T>(p.problem.scale, p.problem.scale, mine.stages[0].k,
                 head_rows<T>(p.d_q, own.batch, own.head), p.d_q.row_stride, own.first,
                 mask.query_length, p.problem.head_dim);
    __syncwarp();
  }
}

/// Blocks of 16 queries, of each head of a group, that look at some of 16 keys.
class QueryWalk {
 public:
  /// `bounds` are those of the keys from `first` on.
  __device__ QueryWalk(const heddle::cuda::ColumnBounds* bounds, int first,
                       const DeviceColumns& mask, bool skips, int heads)
      : mask_(mask), bounds_(bounds), first_(first), skips_(skips), heads_(heads) {
    const int length = mask.query_length;
    const RowSpan rows = skips ? visible_span(column(), length) : RowSpan{0, length};
    const bool none = rows.begin >= rows.end;
    begin_ = __reduce_min_sync(kAllLanes, none ? length : rows.begin) / kRows * kRows;
    end_ = __reduce_max_sync(kAllLanes, none ? 0 : rows.end);
    row_ = begin_;
  }

  /// A block, and of which member of the group.
  struct Queries {
    Block block;
    int member;
  };
  __device__ Queries next() {
    for (; member_ < heads_; ++member_, row_ = begin_) {
      for (; row_ < end_; row_ += kRows) {
        const uint32_t rows = rows_that_see(column(), row_, mask_.query_length);
        if (skips_ && !__any_sync(kAllLanes, rows != 0)) continue;
        row_ += kRows;
        return {{row_ - kRows, rows}, member_};
      }
      if (begin_ >= end_) break;
    }
    return {{-1, 0}, 0};
  }

 private:
  __device__ MaskColumn column() const {  // of key lane % 16, read again: registers are few
    const int key = lane_of() % kRows;
    return mask_column(mask_, bounds_[key], first_ + key);
  }

  const DeviceColumns& mask_;
  const heddle::cuda::ColumnBounds* bounds_;
  int first_;
  bool skips_;
  int heads_, begin_, end_, row_, member_ = 0;
};

/// Q, dO, lse and Δ of a block.
struct QueryStage {
  unsigned char q[kTileBytes], d_out[kTileBytes];
  float lse[kRows], delta[kRows];
};
static_assert(sizeof(QueryStage) % 128 == 0);

/// A warp's share of a block's memory.
struct KeyMemory {
  unsigned char keys[kTileBytes], values[kTileBytes];
  QueryStage stages[kStages];
  heddle::cuda::ColumnBounds bounds[2][kRows];  // of the warp's keys, and of its next ones
};

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
__global__ void __launch_bounds__(kThreads, kBlocks)
    key_gradients_kernel(const __grid_constant__ Backward params) {
  extern __shared__ __align__(128) unsigned char memory[];
  const BackwardLaunch& p = params.launch;
  const DeviceColumns& mask = p.problem.mask;
  const int group = p.problem.heads / p.problem.kv_heads, columns = p.problem.head_dim;
  KeyMemory& mine = reinterpret_cast<KeyMemory*>(memory)[threadIdx.x / 32];
  QueryStage(&stages)[kStages] = mine.stages;
  const uint32_t keys_at = sm80::shared_address(mine.keys),
                 values_at = sm80::shared_address(mine.values);
  Share share(p.problem.batches, p.problem.kv_heads, mask.key_length);
  const auto copy_bounds = [&](int place) {
    if (share.done() || lane_of() >= kRows) return;
    const Own next = share.own();
    const int key = min(next.first + lane_of(), mask.key_length - 1);
    const int64_t set = mask_set(mask, next.batch, next.head);
    sm80::copy_async_16(sm80::shared_address(mine.bounds[place] + lane_of()),
                        mask.bounds + set * mask.key_length + key, true);
  };
  copy_bounds(0);
  sm80::commit_copies();
  sm80::wait_copies<0>();
  __syncwarp();
  for (int place = 0; !share.done(); place ^= 1) {
    const Own own = share.own();
    share.advance();
    copy_bounds(place ^ 1);  // they are there when this is done
    copy_rows(keys_at, head_rows<const T>(p.k, own.batch, own.head), p.k.row_stride, own.first,
              mask.key_length, columns);
    copy_rows(values_at, head_rows<const T>(p.v, own.batch, own.head), p.v.row_stride, own.first,
              mask.key_length, columns);
    sm80::commit_copies();
    QueryWalk walk(mine.bounds[place], own.first, mask, params.spans.skips, group);
    const auto copy = [&](const QueryWalk::Queries& queries, int stage) {
      if (queries.block.first >= 0) {
        copy_queries<T>(p, own.batch, own.head * group + queries.member, queries.block.first,
                        stages[stage]);
      }
      sm80::commit_copies();
    };
    QueryWalk::Queries queries = walk.next();
    copy(queries, 0);
    Block block = queries.block;
    queries = walk.next();
    copy(queries, 1);
    Block second = queries.block;
    Sums d_k, d_v;
    const float factor = p.problem.scale * kLog2E;
    for (int stage = 0; block.first >= 0; stage = stage_after(stage)) {
      queries = walk.next();
      __syncwarp();  // all lanes have read what the third goes over
      copy(queries, stage_after(stage_after(stage)));
      sm80::wait_copies<2>();
      __syncwarp();
      uint32_t rows[2];  // that look at keys lane / 4 and lane / 4 + 8, from lane % 4 · 2 on
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        rows[r] = __shfl_sync(kAllLanes, block.rows, lane_of() / 4 + r * 8) >> (lane_of() % 4 * 2);
      }
      const QueryStage& from = stages[stage];
      const uint32_t q = sm80::shared_address(from.q), d_out = sm80::shared_address(from.d_out);
      float s[2][4], dp[2][4];  // [keys, rows]
      Left keys, values;        // loaded again each time: registers are few
      keys.load(keys_at);
      multiply<T>(s, keys, q);
      values.load(values_at);
      multiply<T>(dp, values, d_out);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int at = n * 8 + lane_of() % 4 * 2 + e;
          const float lse = from.lse[at] * kLog2E, delta = from.delta[at];
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const bool visible = (rows[r] >> (n * 8 + e) & 1) != 0;
            float& weight = s[n][2 * r + e];
            weight = visible ? sm80::exp2_fast(fmaf(weight, factor, -lse)) : 0;
            dp[n][2 * r + e] = visible ? weight * (dp[n][2 * r + e] - delta) : 0;
          }
        }
      }
      d_v.add<T>(s, d_out);
      d_k.add<T>(dp, q);
      block = second;
      second = queries.block;
    }
    const float scale = p.problem.scale;
    d_k.store<T>(scale, scale, stages[0].q, head_rows<T>(p.d_k, own.batch, own.head),
                 p.d_k.row_stride, own.first, mask.key_length, columns);
    d_v.store<T>(1, 1, stages[0].d_out, head_rows<T>(p.d_v, own.batch, own.head), p.d_v.row_stride,
                 own.first, mask.key_length, columns);
    sm80::wait_copies<0>();  // those of keys that nobody looks at
    __syncwarp();
  }
}

}  // namespace

int backward(const Backward& p) {
  const Problem& problem = p.launch.problem;
  const auto by_query =
      problem.bf16 ? query_gradient_kernel<__nv_bfloat16> : query_gradient_kernel<__half>;
  const int status =
      launch(by_query, groups_of(problem.batches, problem.heads, problem.mask.query_length),
             kBlocks, static_cast<int>(sizeof(QueryMemory)), p);
  if (status != cudaSuccess) return status;
  const auto by_key =
      problem.bf16 ? key_gradients_kernel<__nv_bfloat16> : key_gradients_kernel<__half>;
  return launch(by_key, groups_of(problem.batches, problem.kv_heads, problem.mask.key_length),
                kBlocks, static_cast<int>(sizeof(KeyMemory)), p);
}

}  // namespace heddle::attention::cuda::shorts
