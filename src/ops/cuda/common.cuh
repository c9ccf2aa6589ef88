// What these kernels share: eight bf16 at once, dropout, sums over threads, the shapes of grids.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "heddle/base/philox.h"
#include "heddle/ops/cuda/launch.h"

namespace heddle::ops::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kThreads = 256;
constexpr int kVector = 8;  // bf16 in 16 bytes; the numbers of one draw of dropout, too

struct Eight {
  float at[kVector];
};

template <Half kHalf = Half::bf16>
__device__ float to_float(BFloat16 value) {
  if constexpr (kHalf == Half::bf16) return __uint_as_float(uint32_t{value.bits} << 16);
  return __half2float(__ushort_as_half(value.bits));
}

template <Half kHalf = Half::bf16>
__device__ uint16_t bits_of(float value) {
  if constexpr (kHalf == Half::bf16) return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  return __half_as_ushort(__float2half_rn(value));
}

template <Half kHalf = Half::bf16>
__device__ float2 unpack_pair(uint32_t word) {
  if constexpr (kHalf == Half::bf16) {
    return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u)};
  }
  return __half22float2({__ushort_as_half(static_cast<uint16_t>(word)),
                         __ushort_as_half(static_cast<uint16_t>(word >> 16))});
}

template <Half kHalf = Half::bf16>
__device__ uint32_t pack_pair(float first, float second) {
  if constexpr (kHalf == Half::bf16) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return uint32_t{__bfloat16_as_ushort(pair.y)} << 16 | __bfloat16_as_ushort(pair.x);
  }
  const __half2 pair = __floats2half2_rn(first, second);
  return uint32_t{__half_as_ushort(pair.y)} << 16 | __half_as_ushort(pair.x);
}

template <Half kHalf = Half::bf16>
__device__ Eight unpack(const uint4& words) {
  const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
  Eight values;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack_pair<kHalf>(pairs[i]);
    values.at[2 * i] = pair.x;
    values.at[2 * i + 1] = pair.y;
  }
  return values;
}

template <Half kHalf = Half::bf16>
__device__ uint4 pack(const Eight& values) {
  const float* v = values.at;
  return {pack_pair<kHalf>(v[0], v[1]), pack_pair<kHalf>(v[2], v[3]), pack_pair<kHalf>(v[4], v[5]),
          pack_pair<kHalf>(v[6], v[7])};
}

/// body.operator()<kHalf>().
template <typename Body>
int with_half(Half half, const Body& body) {
  return half == Half::bf16 ? body.template operator()<Half::bf16>()
                            : body.template operator()<Half::f16>();
}

__device__ inline Eight load8(const float* from) {
  const auto* quads = reinterpret_cast<const float4*>(from);
  const float4 a = quads[0], b = quads[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ inline void store8(float* to, const Eight& values) {
  const float* v = values.at;
  auto* quads = reinterpret_cast<float4*>(to);
  quads[0] = {v[0], v[1], v[2], v[3]};
  quads[1] = {v[4], v[5], v[6], v[7]};
}

/// One vector of 16 bytes of rows.
struct Place {
  int64_t row;
  int vector;
};

__device__ inline uint4& vector_at(const RowsView& rows, const Place& at) {
  return reinterpret_cast<uint4*>(rows.data + at.row * rows.stride)[at.vector];
}

/// x = drop(x) of one vector.
__device__ inline void drop(const DropoutKey& key, const Place& at, Eight& x) {
  if (key.bound == 0) return;
  const uint64_t number = key.first_row + static_cast<uint64_t>(at.row);
  const PhiloxWords draw =
      philox_rounds({{static_cast<uint32_t>(at.vector), static_cast<uint32_t>(number),
                      static_cast<uint32_t>(number >> 32) << 16 | key.site, key.step}},
                    key.key0, key.key1);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const uint32_t drawn = draw.word[i / 2] >> 16 * (i % 2) & 0xffffu;
    x.at[i] = drawn < key.bound ? 0.0f : x.at[i] * key.scale;
  }
}

/// e^x by the GPU's own 2^x; what is below 2^−126 becomes 0.
__device__ inline float fast_exp(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * 1.44269504f));
  return result;
}

/// Brings what a thread will read later, after other numbers were written, near.
__device__ inline void prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

/// The sum over `kLanes` neighbouring lanes of a warp, the same bits in each of them.
template <int kLanes, typename T>
__device__ T sum_over_lanes(T x) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

/// The sum over a block of whole warps, the same bits in each thread. `shared` has room for one T a
/// warp, and may be used again at once.
template <typename T>
__device__ T sum_over_block(T x, T* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  x = sum_over_lanes<32>(x);
  if (thread % 32 == 0) shared[thread / 32] = x;
  __syncthreads();
  T total = 0;
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) total += shared[warp];
  __syncthreads();
  return total;
}

/// A thread for each vector of rows: x over vectors, y over rows, and so are the blocks (but with
/// rows in x, which has no bound to speak of).
struct Grid {
  dim3 blocks, threads;
};

inline unsigned blocks_for(int64_t work, int64_t each) {
  return static_cast<unsigned>((work + each - 1) / each);
}

inline Grid grid_over(int64_t rows, int64_t vectors) {
  const unsigned lanes = vectors <= 8 ? 8 : vectors <= 16 ? 16 : 32;
  const unsigned each = kThreads / lanes;
  return {dim3(blocks_for(rows, each), blocks_for(vectors, lanes)), dim3(lanes, each)};
}

__device__ inline Place place_of_thread() {
  return {static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y,
          static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x)};
}

__device__ inline bool is_inside(const Place& at, int64_t rows, int64_t vectors) {
  return at.row < rows && at.vector < vectors;
}

/// Rows of sums that wait to be added: chunk c at from + c · stride. Column i · width + n goes to
/// to[i][n], unless that is null.
struct Partials {
  static constexpr int kMost = 3;
  const float* from;
  int64_t chunks, stride, width;
  float factor;
  float* to[kMost];
};

/// to[i][n] += factor · Σ_c from[c, i · width + n], always in the same order.
int launch_add_partials(const Partials& partials, Stream stream);

}  // namespace heddle::ops::cuda
