// RMS norms of each head of queries and keys, weights [E], forward and backward:
//   y = x · factor · weight,  factor = 1 / sqrt(mean of x² + epsilon)
//   d_x = factor · (u − n · mean(u · n)),  u = d_y · weight,  n = x · factor
//
// kLanes threads share a head, a vector each: a row of a layer norm would be too long for them.
// The way back computes factors again: x is read anyway.
#include "heddle/ops/cuda/common.cuh"

namespace heddle::ops::cuda {

namespace {

template <int kLanes>
__device__ float factor_of(const Eight& x, int64_t head_width, float epsilon) {
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kVector; ++i) squares += x.at[i] * x.at[i];
  return 1.0f / sqrtf(sum_over_lanes<kLanes>(squares) / static_cast<float>(head_width) + epsilon);
}

/// A block works on one head of many rows.
template <int kLanes>
__global__ void __launch_bounds__(kThreads) norm_heads_kernel(const __grid_constant__ NormHeads p) {
  constexpr int kGroups = kThreads / kLanes;
  const HeadColumns& columns = p.columns;
  const int vectors = static_cast<int>(columns.head_width / kVector);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes;
  const int head = static_cast<int>(blockIdx.y);
  const Place at{static_cast<int64_t>(blockIdx.x) * kGroups + thread / kLanes,
                 head * vectors + lane};
  const bool valid = at.row < columns.rows && lane < vectors;
  const uint4 words = valid ? vector_at(p.x, at) : uint4{};
  if (head >= columns.heads + columns.kv_heads) {  // of the values
    if (valid) vector_at(p.y, at) = words;
    return;
  }
  Eight x = unpack(words);
  const float factor = factor_of<kLanes>(x, columns.head_width, p.epsilon);
  if (!valid) return;
  const Eight weight =
      load8((head < columns.heads ? p.query_weight : p.key_weight) + lane * kVector);
#pragma unroll
  for (int i = 0; i < kVector; ++i) x.at[i] *= factor * weight.at[i];
  vector_at(p.y, at) = pack(x);
}

/// Adds up what the groups of a block found for each column, one group after the other.
template <int kLanes>
__device__ void leave_columns(const Eight& mine, int64_t head_width, float* to) {
  __shared__ float sums[kLanes * kVector];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes;
  for (int group = 0; group < kThreads / kLanes; ++group) {
    if (thread / kLanes == group) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        float& sum = sums[i * kLanes + lane];
        sum = group == 0 ? mine.at[i] : sum + mine.at[i];
      }
    }
    __syncthreads();
  }
  for (int column = thread; column < head_width; column += kThreads) {
    to[column] = sums[column % kVector * kLanes + column / kVector];
  }
}

/// Blocks with y 0 work on queries, those with y 1 on keys.
template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    norm_heads_backward_kernel(const __grid_constant__ NormHeadsBackward p) {
  constexpr int kGroups = kThreads / kLanes;
  const HeadColumns& columns = p.columns;
  const bool is_key = blockIdx.y == 1;
  const int heads = static_cast<int>(is_key ? columns.kv_heads : columns.heads);
  const int first_head = static_cast<int>(is_key ? columns.heads : 0);
  const int vectors = static_cast<int>(columns.head_width / kVector);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes;
  Eight weight{}, d_weight{};
  if (lane < vectors) weight = load8((is_key ? p.key_weight : p.query_weight) + lane * kVector);
  const int64_t count = columns.rows * heads;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kGroups; first < count;
       first += static_cast<int64_t>(gridDim.x) * kGroups) {
    const int64_t i = first + thread / kLanes;
    const bool valid = i < count && lane < vectors;
    const Place at{i / heads, (first_head + static_cast<int>(i % heads)) * vectors + lane};
    const Eight x = unpack(valid ? vector_at(p.x, at) : uint4{});
    Eight d = unpack(valid ? vector_at(p.d, at) : uint4{});
    const float factor = factor_of<kLanes>(x, columns.head_width, p.epsilon);
    float sum_un = 0;
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const float n = x.at[j] * factor;
      sum_un += d.at[j] * weight.at[j] * n;
      d_weight.at[j] += d.at[j] * n;
    }
    const float mean_un = sum_over_lanes<kLanes>(sum_un) / static_cast<float>(columns.head_width);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      d.at[j] = factor * (d.at[j] * weight.at[j] - x.at[j] * factor * mean_un);
    }
    if (valid) vector_at(p.d, at) = pack(d);
  }
  if (p.scratch == nullptr) return;
  leave_columns<kLanes>(
      d_weight, columns.head_width,
      p.scratch + (static_cast<int64_t>(blockIdx.x) * 2 + blockIdx.y) * columns.head_width);
}

// As many as the largest GPUs have a use for; the same number everywhere, as sums depend on it.
constexpr int64_t kMostBlocks = 396;

int64_t groups_of(int64_t head_width) {  // heads that a block works on at once
  return head_width <= 64 ? 32 : head_width <= 128 ? 16 : 8;
}

int64_t backward_blocks(const HeadColumns& columns) {
  const int64_t each = groups_of(columns.head_width);
  const int64_t steps = (columns.rows * columns.heads + each - 1) / each;
  return steps < kMostBlocks ? steps : kMostBlocks;
}

/// body.operator()<kLanes>() for heads of this width; false: they are too wide.
template <typename Body>
bool with_lanes(int64_t head_width, const Body& body) {
  if (head_width <= 64) return body.template operator()<8>(), true;
  if (head_width <= 128) return body.template operator()<16>(), true;
  if (head_width <= 256) return body.template operator()<32>(), true;
  return false;
}

}  // namespace

int launch_norm_heads(const NormHeads& norm, Stream stream) {
  const HeadColumns& columns = norm.columns;
  if (columns.rows == 0) return cudaSuccess;
  const bool in_place = norm.x.data == norm.y.data;
  const int64_t heads = columns.heads + (in_place ? 1 : 2) * columns.kv_heads;
  const dim3 blocks(blocks_for(columns.rows, groups_of(columns.head_width)),
                    static_cast<unsigned>(heads));
  const bool found = with_lanes(columns.head_width, [&]<int kLanes>() {
    norm_heads_kernel<kLanes><<<blocks, kThreads, 0, stream>>>(norm);
  });
  return found ? cudaGetLastError() : cudaErrorInvalidValue;
}

int64_t norm_heads_scratch(const HeadColumns& columns) {
  return backward_blocks(columns) * 2 * columns.head_width;
}

int launch_norm_heads_backward(const NormHeadsBackward& norm, Stream stream) {
  const HeadColumns& columns = norm.columns;
  if (columns.rows == 0) return cudaSuccess;
  const int64_t chunks = backward_blocks(columns), width = columns.head_width;
  const bool found = with_lanes(width, [&]<int kLanes>() {
    norm_heads_backward_kernel<kLanes>
        <<<dim3(static_cast<unsigned>(chunks), 2), kThreads, 0, stream>>>(norm);
  });
  if (!found) return cudaErrorInvalidValue;
  if (norm.scratch == nullptr) return cudaGetLastError();
  return launch_add_partials({.from = norm.scratch,
                              .chunks = chunks,
                              .stride = 2 * width,
                              .width = width,
                              .factor = 1,
                              .to = {norm.d_query_weight, norm.d_key_weight}},
                             stream);
}

}  // namespace heddle::ops::cuda
