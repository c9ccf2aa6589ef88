// Tokens to rows, the gradients of rows back to a table, and sums of rows.
//
// A place of the table that many rows add to has several groups of rows. Each group is summed by
// itself; where it stands alone, its sum goes to the table at once, else to the scratch, from where
// the second kernel adds the groups of one target.
#include "heddle/ops/cuda/common.cuh"

namespace heddle::ops::cuda {

namespace {

template <Half kHalf>
__global__ void __launch_bounds__(kThreads) embed_kernel(const __grid_constant__ Embed p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  const int32_t token = p.tokens[at.row];
  Eight y{};
  if (token >= 0) {
    const BFloat16* from = p.table + token * p.extent.width;
    y = unpack<kHalf>(reinterpret_cast<const uint4*>(from)[at.vector]);
#pragma unroll
    for (int i = 0; i < kVector; ++i) y.at[i] *= p.scale;
  }
  if (p.positions != nullptr) {
    const float* from = p.positions + p.of_row[at.row] * p.extent.width;
    const Eight position = load8(from + at.vector * kVector);
#pragma unroll
    for (int i = 0; i < kVector; ++i) y.at[i] += position.at[i];
  }
  drop(p.dropout, at, y);
  vector_at(p.y, at) = pack<kHalf>(y);
}

constexpr int kLanes = 32, kShares = kThreads / kLanes;  // of a block

__device__ bool follows(const RowGroups& groups, int32_t group) {
  return group > 0 && groups.targets[group - 1] == groups.targets[group];
}

__device__ bool is_followed(const RowGroups& groups, int32_t group) {
  return group + 1 < groups.groups && groups.targets[group + 1] == groups.targets[group];
}

/// to += factor · values
__device__ void add8(float* to, float factor, const Eight& values) {
  Eight sum = load8(to);
#pragma unroll
  for (int i = 0; i < kVector; ++i) sum.at[i] += factor * values.at[i];
  store8(to, sum);
}

/// A group a warp.
__global__ void __launch_bounds__(kThreads)
    sum_groups_kernel(const __grid_constant__ ScatterRows p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.groups.groups, p.extent.width / kVector)) return;
  const auto group = static_cast<int32_t>(at.row);
  const int32_t end = p.groups.starts[group + 1];
  Eight sum{};
#pragma unroll 4
  for (int32_t i = p.groups.starts[group]; i < end; ++i) {
    const Place from{p.groups.order[i], at.vector};
    Eight d = unpack(vector_at(p.d_y, from));
    drop(p.dropout, from, d);
#pragma unroll
    for (int j = 0; j < kVector; ++j) sum.at[j] += d.at[j];
  }
  const int column = at.vector * kVector;
  if (follows(p.groups, group) || is_followed(p.groups, group)) {
    store8(p.scratch + group * p.extent.width + column, sum);
  } else {
    add8(p.d_table + p.groups.targets[group] * p.extent.width + column, p.scale, sum);
  }
}

/// The sum over the groups from `group` on that have its target, this thread's share of them.
__device__ Eight sum_of_target(const ScatterRows& p, int32_t group, int column) {
  const int32_t target = p.groups.targets[group];
  Eight sum{};
  const auto add = [&](int32_t from) {
    const Eight part = load8(p.scratch + from * p.extent.width + column);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum.at[i] += part.at[i];
  };
  const auto belongs = [&](int32_t i) {
    return i < p.groups.groups && p.groups.targets[i] == target;
  };
  int32_t i = group + static_cast<int32_t>(threadIdx.y);
  for (; belongs(i + 3 * kShares); i += 4 * kShares) {
#pragma unroll
    for (int j = 0; j < 4; ++j) add(i + j * kShares);
  }
  for (; belongs(i); i += kShares) add(i);
  return sum;
}

/// A block looks at 32 groups and works, all its warps together, for those that begin a target's
/// several.
__global__ void __launch_bounds__(kThreads)
    add_groups_kernel(const __grid_constant__ ScatterRows p) {
  __shared__ float shares[kShares][kVector][kLanes];
  const int lane = static_cast<int>(threadIdx.x), share = static_cast<int>(threadIdx.y);
  const int32_t first = static_cast<int32_t>(blockIdx.x) * 32;
  const int32_t looked_at = first + lane;
  const bool begins = looked_at < p.groups.groups && !follows(p.groups, looked_at) &&
                      is_followed(p.groups, looked_at);
  const int vector = static_cast<int>(blockIdx.y) * kLanes + lane;
  const bool valid = vector < p.extent.width / kVector;
  for (unsigned left = __ballot_sync(kAllLanes, begins); left != 0; left &= left - 1) {
    const int32_t group = first + __ffs(static_cast<int>(left)) - 1;
    const Eight sum = valid ? sum_of_target(p, group, vector * kVector) : Eight{};
#pragma unroll
    for (int i = 0; i < kVector; ++i) shares[share][i][lane] = sum.at[i];
    __syncthreads();
    if (share == 0 && valid) {
      Eight total{};
      for (int s = 0; s < kShares; ++s) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) total.at[i] += shares[s][i][lane];
      }
      add8(p.d_table + p.groups.targets[group] * p.extent.width + vector * kVector, p.scale, total);
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads) sum_rows_kernel(const __grid_constant__ SumRows p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  const int32_t end = p.starts[at.row + 1];
  Eight sum{};
  for (int32_t j = p.starts[at.row]; j < end; ++j) {
    const int32_t i = p.order[j];
    const float factor = p.factors != nullptr ? p.factors[i] : 1.0f;
    const Eight x = unpack(vector_at(p.x, {i, at.vector}));
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum.at[k] = fmaf(factor, x.at[k], sum.at[k]);
  }
  vector_at(p.y, at) = pack(sum);
}

}  // namespace

int launch_embed(const Embed& embed, Stream stream) {
  if (embed.extent.rows == 0) return cudaSuccess;
  const Grid grid = grid_over(embed.extent.rows, embed.extent.width / kVector);
  return with_half(embed.y.half, [&]<Half kHalf>() -> int {
    embed_kernel<kHalf><<<grid.blocks, grid.threads, 0, stream>>>(embed);
    return cudaGetLastError();
  });
}

int64_t scatter_rows_scratch(const Extent& extent, const RowGroups& groups) {
  return groups.groups * extent.width;
}

int launch_scatter_rows(const ScatterRows& scatter, Stream stream) {
  if (scatter.groups.groups == 0) return cudaSuccess;
  const int64_t vectors = scatter.extent.width / kVector;
  const Grid grid = grid_over(scatter.groups.groups, vectors);
  sum_groups_kernel<<<grid.blocks, grid.threads, 0, stream>>>(scatter);
  const dim3 blocks(blocks_for(scatter.groups.groups, 32), blocks_for(vectors, kLanes));
  add_groups_kernel<<<blocks, dim3(kLanes, kShares), 0, stream>>>(scatter);
  return cudaGetLastError();
}

int launch_sum_rows(const SumRows& sum, Stream stream) {
  if (sum.extent.rows == 0) return cudaSuccess;
  const Grid grid = grid_over(sum.extent.rows, sum.extent.width / kVector);
  sum_rows_kernel<<<grid.blocks, grid.threads, 0, stream>>>(sum);
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
