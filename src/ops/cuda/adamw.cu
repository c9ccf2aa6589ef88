// The optimiser (train/adamw.h) and what goes with it, over arrays as long as all parameters.
// Threads take four elements at a time where the arrays begin at multiples of 16 bytes.
#include "heddle/ops/cuda/adamw.cuh"

namespace heddle::ops::cuda {

namespace {

struct Four {
  float at[4];
};

/// Elements [4 · index, 4 · index + 4) or, at the end of an array, fewer.
struct Slice {
  int64_t begin;
  int count;
  bool whole;  // one load of 16 bytes

  __device__ Four load(const float* from) const {
    if (whole) {
      const float4 quad = *reinterpret_cast<const float4*>(from + begin);
      return {{quad.x, quad.y, quad.z, quad.w}};
    }
    Four values{};
    for (int i = 0; i < count; ++i) values.at[i] = from[begin + i];
    return values;
  }
  __device__ void store(float* to, const Four& values) const {
    const float* v = values.at;
    if (whole) {
      *reinterpret_cast<float4*>(to + begin) = {v[0], v[1], v[2], v[3]};
    } else {
      for (int i = 0; i < count; ++i) to[begin + i] = v[i];
    }
  }
  template <Half kHalf = Half::bf16>
  __device__ void store(BFloat16* to, const Four& values) const {
    const float* v = values.at;
    if (whole) {
      *reinterpret_cast<uint2*>(to + begin) = {pack_pair<kHalf>(v[0], v[1]),
                                               pack_pair<kHalf>(v[2], v[3])};
    } else {
      for (int i = 0; i < count; ++i) to[begin + i].bits = bits_of<kHalf>(v[i]);
    }
  }
};

__device__ Slice slice_at(int64_t index, int64_t count, bool aligned) {
  const int64_t begin = 4 * index, left = count - begin;
  return {begin, left < 4 ? static_cast<int>(left) : 4, aligned && left >= 4};
}

__device__ int64_t index_of_thread() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

/// kWhole: all slices are.
template <bool kWhole>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(const __grid_constant__ AdamWUpdate p, AdamWShares shares, bool aligned) {
  const int64_t index = index_of_thread();
  if (4 * index >= p.count) return;
  Slice slice = slice_at(index, p.count, aligned);
  if constexpr (kWhole) slice.whole = true;  // so that no load waits for another's branch
  const Four gradients = slice.load(p.gradients);
  Four means = slice.load(p.means), squares = slice.load(p.squares), values = slice.load(p.values);
  Four averages{};
  if (p.averages != nullptr) averages = slice.load(p.averages);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float keep = slice.begin + i < p.decayed ? p.keep : 1.0f;
    update_element(p, shares, keep, gradients.at[i],
                   {means.at[i], squares.at[i], values.at[i], averages.at[i]});
  }
  slice.store(p.means, means);
  slice.store(p.squares, squares);
  slice.store(p.values, values);
  if (p.averages != nullptr) slice.store(p.averages, averages);
  if (p.copies != nullptr) slice.store(p.copies, values);
}

__global__ void __launch_bounds__(kThreads)
    squares_kernel(const float* values, int64_t count, bool aligned, double* sums) {
  __shared__ double shared[kThreads / 32];
  double sum = 0;
#pragma unroll 4
  for (int64_t i = index_of_thread(); 4 * i < count; i += int64_t{kSquareBlocks} * kThreads) {
    const Four x = slice_at(i, count, aligned).load(values);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(x.at[j]) * static_cast<double>(x.at[j]);
  }
  sum = sum_over_block(sum, shared);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kSquareBlocks)
    add_squares_kernel(const double* sums, double* sum) {
  __shared__ double shared[kSquareBlocks / 32];
  const double total = sum_over_block(sums[threadIdx.x], shared);
  if (threadIdx.x == 0) *sum = total;
}

__global__ void write_kernel(int64_t* to, int64_t value) { *to = value; }

__global__ void __launch_bounds__(kThreads)
    first_not_finite_kernel(const float* values, int64_t count, bool aligned, int64_t* first) {
  const int64_t index = index_of_thread();
  if (4 * index >= count) return;
  const Slice slice = slice_at(index, count, aligned);
  const Four x = slice.load(values);  // zeros behind the end
  for (int i = 0; i < 4; ++i) {
    if ((__float_as_uint(x.at[i]) & 0x7f800000u) != 0x7f800000u) continue;
    atomicMin(reinterpret_cast<unsigned long long*>(first),
              static_cast<unsigned long long>(slice.begin + i));
    return;
  }
}

template <Half kHalf>
__global__ void __launch_bounds__(kThreads)
    convert_kernel(const float* from, int64_t count, bool aligned, float factor, BFloat16* to) {
  const int64_t index = index_of_thread();
  if (4 * index >= count) return;
  const Slice slice = slice_at(index, count, aligned);
  Four x = slice.load(from);
#pragma unroll
  for (int i = 0; i < 4; ++i) x.at[i] *= factor;
  slice.store<kHalf>(to, x);
}

__global__ void __launch_bounds__(kThreads)
    swap_kernel(float* a, float* b, int64_t count, bool aligned, BFloat16* copies) {
  const int64_t index = index_of_thread();
  if (4 * index >= count) return;
  const Slice slice = slice_at(index, count, aligned);
  const Four x = slice.load(a), y = slice.load(b);
  slice.store(a, y);
  slice.store(b, x);
  if (copies != nullptr) slice.store(copies, y);
}

bool is_aligned(std::initializer_list<const void*> pointers) {
  bool aligned = true;
  for (const void* pointer : pointers) {
    aligned = aligned && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  }
  return aligned;
}

unsigned blocks_over(int64_t count) { return blocks_for((count + 3) / 4, kThreads); }

}  // namespace

int launch_adamw(const AdamWUpdate& p, Stream stream) {
  if (p.count == 0) return cudaSuccess;
  const bool aligned =
      is_aligned({p.values, p.means, p.squares, p.averages, p.gradients, p.copies});
  const auto kernel = aligned && p.count % 4 == 0 ? adamw_kernel<true> : adamw_kernel<false>;
  kernel<<<blocks_over(p.count), kThreads, 0, stream>>>(p, shares_of(p), aligned);
  return cudaGetLastError();
}

int launch_sum_squares(const float* values, int64_t count, double* scratch, double* sum,
                       Stream stream) {
  squares_kernel<<<kSquareBlocks, kThreads, 0, stream>>>(values, count, is_aligned({values}),
                                                         scratch);
  add_squares_kernel<<<1, kSquareBlocks, 0, stream>>>(scratch, sum);
  return cudaGetLastError();
}

int launch_first_not_finite(const float* values, int64_t count, int64_t* first, Stream stream) {
  write_kernel<<<1, 1, 0, stream>>>(first, count);
  if (count > 0) {
    first_not_finite_kernel<<<blocks_over(count), kThreads, 0, stream>>>(
        values, count, is_aligned({values}), first);
  }
  return cudaGetLastError();
}

int launch_convert(const float* from, int64_t count, float factor, BFloat16* to, Half half,
                   Stream stream) {
  if (count == 0) return cudaSuccess;
  return with_half(half, [&]<Half kHalf>() -> int {
    convert_kernel<kHalf><<<blocks_over(count), kThreads, 0, stream>>>(
        from, count, is_aligned({from, to}), factor, to);
    return cudaGetLastError();
  });
}

int launch_swap(float* a, float* b, int64_t count, BFloat16* copies, Stream stream) {
  if (count == 0) return cudaSuccess;
  swap_kernel<<<blocks_over(count), kThreads, 0, stream>>>(a, b, count, is_aligned({a, b, copies}),
                                                           copies);
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
