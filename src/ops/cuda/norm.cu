// Layer norm and RMS norm with the residual sum before them, forward and backward:
//   s = drop(x) + residual,  n = (s − mean) · factor,  y = n · weight + bias
//   d_s = factor · (u − mean(u) − n · mean(u · n)),  u = d_y · weight
// RMS norms leave out the means of s and u.
//
// kLanes threads share a row, which they hold in registers: part of a warp up to 64 columns, a warp
// up to 1024, a block up to 16384.
#include "heddle/ops/cuda/common.cuh"

namespace heddle::ops::cuda {

namespace {

template <int kLanes>
__device__ float sum_over_row(float x, float* shared) {
  if constexpr (kLanes <= 32) {
    return sum_over_lanes<kLanes>(x);
  } else {
    return sum_over_block(x, shared);
  }
}

__device__ float sum_of(const Eight& x) {
  return ((x.at[0] + x.at[1]) + (x.at[2] + x.at[3])) + ((x.at[4] + x.at[5]) + (x.at[6] + x.at[7]));
}

/// The vectors of one row that a thread holds: lane, lane + kLanes, …
template <int kVectors, int kLanes>
struct RowShare {
  int64_t row;
  int lane, count;  // of the row's vectors; 0 behind the last row

  __device__ RowShare(int64_t row, const Extent& extent)
      : row(row),
        lane(static_cast<int>(threadIdx.x) % kLanes),
        count(row < extent.rows ? static_cast<int>(extent.width / kVector) : 0) {}

  __device__ Place at(int i) const { return {row, i * kLanes + lane}; }
  __device__ bool has(int i) const { return i * kLanes + lane < count; }

  __device__ void load(const RowsView& rows, uint4 (&words)[kVectors]) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) words[i] = has(i) ? vector_at(rows, at(i)) : uint4{};
  }
  __device__ void prefetch_row(const RowsView& rows) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (has(i)) prefetch(&vector_at(rows, at(i)));
    }
  }
};

template <int kVectors, int kLanes, Half kHalf>
__global__ void __launch_bounds__(kThreads) norm_kernel(const __grid_constant__ NormForward p) {
  __shared__ float shared[kThreads / 32];
  constexpr int kGroups = kThreads / kLanes;
  const RowShare<kVectors, kLanes> mine(
      static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kLanes, p.extent);
  uint4 words[kVectors], more[kVectors] = {};
  mine.load(p.x, words);
  if (p.residual.data != nullptr) mine.load(p.residual, more);

  Eight s[kVectors];
  float total = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    s[i] = unpack<kHalf>(words[i]);
    drop(p.dropout, mine.at(i), s[i]);
    const Eight residual = unpack<kHalf>(more[i]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) s[i].at[j] += residual.at[j];
    total += sum_of(s[i]);
    if (p.keeps_sum && mine.has(i)) vector_at(p.x, mine.at(i)) = pack<kHalf>(s[i]);
  }
  const auto width = static_cast<float>(p.extent.width);
  const float mean = p.subtracts_mean ? sum_over_row<kLanes>(total, shared) / width : 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (!mine.has(i)) continue;
    Eight square;
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      s[i].at[j] -= mean;
      square.at[j] = s[i].at[j] * s[i].at[j];
    }
    squares += sum_of(square);
  }
  const float variance = sum_over_row<kLanes>(squares, shared) / width;
  const float factor = 1.0f / sqrtf(variance + p.epsilon);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (!mine.has(i)) continue;
    const Eight weight = load8(p.weight + mine.at(i).vector * kVector);
    Eight bias{};
    if (p.bias != nullptr) bias = load8(p.bias + mine.at(i).vector * kVector);
    Eight y;
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      y.at[j] = s[i].at[j] * factor * weight.at[j] + bias.at[j];
    }
    vector_at(p.y, mine.at(i)) = pack<kHalf>(y);
  }
  if (mine.lane == 0 && mine.count > 0 && p.factor != nullptr) {
    if (p.mean != nullptr) p.mean[mine.row] = mean;
    p.factor[mine.row] = factor;
  }
}

/// The normalised row of a thread and the gradient of y, as they were read, and what its sums say.
template <int kVectors>
struct NormState {
  uint4 sum[kVectors], d_y[kVectors];
  float mean, factor;
  float mean_u, mean_un;  // of u and of u · n

  __device__ Eight normalized(int i) const {
    Eight n = unpack(sum[i]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) n.at[j] = (n.at[j] - mean) * factor;
    return n;
  }
};

/// Writes or adds one vector of d_s.
__device__ void give(const RowsView& to, const Place& at, bool adds, Eight d) {
  if (adds) {
    const Eight before = unpack(vector_at(to, at));
#pragma unroll
    for (int j = 0; j < kVector; ++j) d.at[j] += before.at[j];
  }
  vector_at(to, at) = pack(d);
}

/// `sums`, unless there are none, gets what goes to x.
template <int kVectors, int kLanes, int kSums>
__device__ void give_gradients(const NormBackward& p, const RowShare<kVectors, kLanes>& mine,
                               const NormState<kVectors>& state, Eight (&sums)[kSums]) {
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (!mine.has(i)) continue;
    const Eight n = state.normalized(i);
    const Eight weight = load8(p.weight + mine.at(i).vector * kVector);
    Eight d = unpack(state.d_y[i]);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const float u = d.at[j] * weight.at[j];
      d.at[j] = state.factor * (u - state.mean_u - n.at[j] * state.mean_un);
    }
    if (p.d_residual.data != nullptr) give(p.d_residual, mine.at(i), p.adds_residual, d);
    if (p.d_x.data == nullptr) continue;
    drop(p.dropout, mine.at(i), d);
    give(p.d_x, mine.at(i), p.adds_x, d);
    if constexpr (kSums == kVectors) {
#pragma unroll
      for (int j = 0; j < kVector; ++j) sums[i].at[j] += d.at[j];
    }
  }
}

/// Adds what the groups of a block found for each column, one group after the other, and leaves
/// the sums in the block's row of the scratch [blocks, kParts, D], as its part.
template <int kVectors, int kLanes, int kParts>
__device__ void leave_columns(const NormBackward& p, const Eight (&mine)[kVectors], int part) {
  constexpr int kGroups = kThreads / kLanes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes;
  const auto width = static_cast<int>(p.extent.width);
  float* to = p.scratch + (static_cast<int64_t>(blockIdx.x) * kParts + part) * width;
  if constexpr (kGroups == 1) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = (i * kLanes + lane) * kVector;
      if (column < width) store8(to + column, mine[i]);
    }
  } else {
    __shared__ float sums[kVectors * kLanes * kVector];
    for (int group = 0; group < kGroups; ++group) {
      if (thread / kLanes == group) {
#pragma unroll
        for (int i = 0; i < kVectors * kVector; ++i) {  // neighbouring lanes: neighbouring banks
          const float value = mine[i / kVector].at[i % kVector];
          const int place = i * kLanes + lane;
          sums[place] = group == 0 ? value : sums[place] + value;
        }
      }
      __syncthreads();
    }
    for (int column = thread; column < width; column += kThreads) {
      const int vector = column / kVector;
      const int i = vector / kLanes * kVector + column % kVector;
      to[column] = sums[i * kLanes + vector % kLanes];
    }
    __syncthreads();  // before the next part
  }
}

template <int kVectors, int kLanes, int kBlocksPerProcessor, bool kSumsX>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    norm_backward_kernel(const __grid_constant__ NormBackward p) {
  __shared__ float shared[kThreads / 32];
  constexpr int kGroups = kThreads / kLanes;
  const auto width = static_cast<float>(p.extent.width);
  Eight d_weight[kVectors] = {}, d_bias[kVectors] = {}, d_x[kSumsX ? kVectors : 1] = {};
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kGroups; first < p.extent.rows;
       first += static_cast<int64_t>(gridDim.x) * kGroups) {
    const RowShare<kVectors, kLanes> mine(first + threadIdx.x / kLanes, p.extent);
    NormState<kVectors> state;
    mine.load(p.sum, state.sum);
    mine.load(p.d_y, state.d_y);
    if (p.adds_residual && p.d_residual.data != nullptr) mine.prefetch_row(p.d_residual);
    if (p.adds_x && p.d_x.data != nullptr) mine.prefetch_row(p.d_x);
    const bool valid = mine.count > 0;
    state.mean = valid && p.subtracts_mean ? p.mean[mine.row] : 0.0f;
    state.factor = valid ? p.factor[mine.row] : 0.0f;
    float sum_u = 0, sum_un = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (!mine.has(i)) continue;
      const Eight n = state.normalized(i), d_y = unpack(state.d_y[i]);
      const Eight weight = load8(p.weight + mine.at(i).vector * kVector);
#pragma unroll
      for (int j = 0; j < kVector; ++j) {
        const float u = d_y.at[j] * weight.at[j];
        sum_u += u;
        sum_un += u * n.at[j];
        d_weight[i].at[j] += d_y.at[j] * n.at[j];
        d_bias[i].at[j] += d_y.at[j];
      }
    }
    state.mean_u = p.subtracts_mean ? sum_over_row<kLanes>(sum_u, shared) / width : 0.0f;
    state.mean_un = sum_over_row<kLanes>(sum_un, shared) / width;
    give_gradients(p, mine, state, d_x);
  }
  constexpr int kParts = kSumsX ? 3 : 2;
  leave_columns<kVectors, kLanes, kParts>(p, d_weight, 0);
  leave_columns<kVectors, kLanes, kParts>(p, d_bias, 1);
  if constexpr (kSumsX) leave_columns<kVectors, kLanes, kParts>(p, d_x, 2);
}

// Three a processor of the largest GPUs; the same number everywhere, as sums depend on it.
constexpr int64_t kMostBlocks = 396;

int64_t groups_of(const Extent& extent) {  // rows that a block works on at once
  return extent.width <= 64 ? 32 : extent.width <= 1024 ? 8 : 1;
}

int64_t backward_blocks(const Extent& extent) {
  const int64_t steps = (extent.rows + groups_of(extent) - 1) / groups_of(extent);
  return steps < kMostBlocks ? steps : kMostBlocks;
}

/// body.operator()<kVectors, kLanes>() for rows of this width; false: they are too wide.
template <typename Body>
bool with_share(int64_t width, const Body& body) {
  if (width <= 64) return body.template operator()<1, 8>(), true;
  if (width <= 256) return body.template operator()<1, 32>(), true;
  if (width <= 512) return body.template operator()<2, 32>(), true;
  if (width <= 1024) return body.template operator()<4, 32>(), true;
  if (width <= 4096) return body.template operator()<2, kThreads>(), true;
  if (width <= 16384) return body.template operator()<8, kThreads>(), true;
  return false;
}

}  // namespace

int launch_norm(const NormForward& norm, Stream stream) {
  if (norm.extent.rows == 0) return cudaSuccess;
  const unsigned blocks = blocks_for(norm.extent.rows, groups_of(norm.extent));
  return with_half(norm.x.half, [&]<Half kHalf>() -> int {
    const bool found = with_share(norm.extent.width, [&]<int kVectors, int kLanes>() {
      norm_kernel<kVectors, kLanes, kHalf><<<blocks, kThreads, 0, stream>>>(norm);
    });
    return found ? cudaGetLastError() : cudaErrorInvalidValue;
  });
}

bool norm_backward_can_sum(const Extent& extent) { return extent.width <= 4096; }

int64_t norm_backward_scratch(const Extent& extent) {
  return backward_blocks(extent) * Partials::kMost * extent.width;
}

int launch_norm_backward(const NormBackward& norm, Stream stream) {
  if (norm.extent.rows == 0) return cudaSuccess;
  const int64_t blocks = backward_blocks(norm.extent), width = norm.extent.width;
  const bool sums_x = norm.d_x_sums != nullptr;
  if (sums_x && !norm_backward_can_sum(norm.extent)) return cudaErrorInvalidValue;
  const bool found = with_share(width, [&]<int kVectors, int kLanes>() {
    // On a processor: as many as have registers.
    constexpr int kBlocks = kVectors == 8 ? 1 : kVectors == 4 ? 2 : 3;
    auto kernel = norm_backward_kernel<kVectors, kLanes, kBlocks, false>;
    if constexpr (kVectors < 8) {
      constexpr int kBlocksWithSums = kVectors == 1 ? 3 : kVectors == 2 ? 2 : 1;
      if (sums_x) kernel = norm_backward_kernel<kVectors, kLanes, kBlocksWithSums, true>;
    }
    kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(norm);
  });
  if (!found) return cudaErrorInvalidValue;
  if (norm.d_weight == nullptr && norm.d_bias == nullptr && !sums_x) return cudaGetLastError();
  return launch_add_partials({.from = norm.scratch,
                              .chunks = blocks,
                              .stride = (sums_x ? 3 : 2) * width,
                              .width = width,
                              .factor = 1,
                              .to = {norm.d_weight, norm.d_bias, norm.d_x_sums}},
                             stream);
}

}  // namespace heddle::ops::cuda
