// One query a row over a range of a pool of keys and values: a warp has one head of one row.
//
// kLanes lanes share a key, eight elements each, so that a warp reads 32 / kLanes keys at once, and
// several times as many before it waits. Each group of lanes keeps a running softmax of its own
// keys (arXiv 2205.14135); the groups are brought together at the end. What a row gives depends on
// its own range alone.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "heddle/attention/cuda/decode.h"
#include "heddle/attention/cuda/dot.cuh"

namespace heddle::attention::cuda {

namespace {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kWarps = 4;
constexpr int kUnroll = 4;  // keys of a group that are on their way at once
constexpr int kVector = 8;  // elements in 16 bytes

struct Eight {
  float at[kVector];
};

/// T: __nv_bfloat162 or __half2.
template <typename T>
__device__ Eight to_eight(const uint4& words) {
  const auto* pairs = reinterpret_cast<const T*>(&words);
  Eight values;
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    const float2 pair = to_floats(pairs[i]);
    values.at[2 * i] = pair.x;
    values.at[2 * i + 1] = pair.y;
  }
  return values;
}

__device__ void round_to(float2 values, __nv_bfloat162& pair) {
  pair = __float22bfloat162_rn(values);
}
__device__ void round_to(float2 values, __half2& pair) { pair = __float22half2_rn(values); }

template <typename T>
__device__ uint4 to_words(const Eight& values) {
  uint4 words;
  auto* pairs = reinterpret_cast<T*>(&words);
#pragma unroll
  for (int i = 0; i < kVector / 2; ++i) {
    round_to({values.at[2 * i], values.at[2 * i + 1]}, pairs[i]);
  }
  return words;
}

__device__ uint4 load(const BFloat16* from) { return *reinterpret_cast<const uint4*>(from); }

__device__ float minus_infinity() { return __int_as_float(0xff800000); }

/// What a group has seen: the greatest score (times log2 e), and sums that count from there.
struct Seen {
  float top, sum;
  Eight values;

  /// Brings the sums to another greatest score.
  __device__ void raise(float greatest) {
    const float shift = greatest == minus_infinity() ? 0.0f : greatest;
    const float factor = exp2f(top - shift);
    top = greatest;
    sum *= factor;
#pragma unroll
    for (int i = 0; i < kVector; ++i) values.at[i] *= factor;
  }

  /// Takes in what the group `step` lanes away has seen; both then have the same.
  __device__ void join(int step) {
    raise(fmaxf(top, __shfl_xor_sync(kAllLanes, top, step)));
    sum += __shfl_xor_sync(kAllLanes, sum, step);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      values.at[i] += __shfl_xor_sync(kAllLanes, values.at[i], step);
    }
  }
};

template <int kLanes, typename T>
__device__ float score_of(const Eight& q, const uint4& key) {
  const Eight k = to_eight<T>(key);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kVector; ++i) sum += q.at[i] * k.at[i];
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
  return sum;
}

template <int kLanes, typename T>
__global__ void __launch_bounds__(32 * kWarps)
    row_decode_kernel(const __grid_constant__ RowDecodeLaunch p) {
  constexpr int kGroups = 32 / kLanes;
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (pair >= p.rows * p.heads) return;  // a whole warp
  const int64_t row = pair / p.heads;
  const int head = static_cast<int>(pair % p.heads), lane = static_cast<int>(threadIdx.x) % 32;
  const int group = lane / kLanes, element = lane % kLanes * kVector;
  const bool has = element < p.head_dim;
  const int32_t length = p.length[row];
  const int64_t first = p.begin[row] * p.token_stride +
                        static_cast<int64_t>(head / (p.heads / p.kv_heads)) * p.head_dim + element;

  Eight q = to_eight<T>(has ? load(p.q + row * p.q_stride + head * p.head_dim + element) : uint4{});
#pragma unroll
  for (int i = 0; i < kVector; ++i) q.at[i] *= p.scale * 1.44269504f;
  const int kept = head - p.first_head;
  float* weights = p.weights != nullptr && kept >= 0 && kept < p.weight_heads
                       ? p.weights + (row * p.weight_heads + kept) * p.weights_stride
                       : nullptr;

  Seen seen{minus_infinity(), 0.0f, {}};
  for (int32_t from = 0; from < length; from += kGroups * kUnroll) {
    uint4 keys[kUnroll], values[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int32_t j = from + u * kGroups + group;
      const bool reads = has && j < length;
      keys[u] = reads ? load(p.keys + first + j * p.token_stride) : uint4{};
      values[u] = reads ? load(p.values + first + j * p.token_stride) : uint4{};
    }
    float scores[kUnroll], greatest = seen.top;
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int32_t j = from + u * kGroups + group;
      const float score = score_of<kLanes, T>(q, keys[u]);
      scores[u] = j < length ? score : minus_infinity();
      greatest = fmaxf(greatest, scores[u]);
      if (weights != nullptr && lane % kLanes == 0 && j < length) weights[j] = score;
    }
    seen.raise(greatest);
    const float shift = greatest == minus_infinity() ? 0.0f : greatest;
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const float weight = exp2f(scores[u] - shift);
      seen.sum += weight;
      const Eight value = to_eight<T>(values[u]);
#pragma unroll
      for (int i = 0; i < kVector; ++i) seen.values.at[i] += weight * value.at[i];
    }
  }
#pragma unroll
  for (int step = kLanes; step < 32; step *= 2) seen.join(step);

  const float factor = length > 0 ? 1.0f / seen.sum : 0.0f;
  if (weights != nullptr) {
    __syncwarp();  // other lanes wrote the scores
    for (int32_t j = lane; j < length; j += 32) weights[j] = exp2f(weights[j] - seen.top) * factor;
  }
  if (group != 0 || !has) return;
#pragma unroll
  for (int i = 0; i < kVector; ++i) seen.values.at[i] *= factor;
  *reinterpret_cast<uint4*>(p.out + row * p.out_stride + head * p.head_dim + element) =
      to_words<T>(seen.values);
}

template <int kLanes>
int launch_lanes(const RowDecodeLaunch& p) {
  const int64_t warps = p.rows * p.heads;
  const auto blocks = static_cast<unsigned>((warps + kWarps - 1) / kWarps);
  const auto kernel = p.half == Half::bf16 ? row_decode_kernel<kLanes, __nv_bfloat162>
                                           : row_decode_kernel<kLanes, __half2>;
  kernel<<<blocks, 32 * kWarps, 0, p.stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

int launch_row_decode(const RowDecodeLaunch& p) {
  if (p.rows == 0) return cudaSuccess;
  if (p.head_dim % kVector != 0 || p.head_dim > 256) return cudaErrorInvalidValue;
  if (p.head_dim <= 16) return launch_lanes<2>(p);
  if (p.head_dim <= 32) return launch_lanes<4>(p);
  if (p.head_dim <= 64) return launch_lanes<8>(p);
  if (p.head_dim <= 128) return launch_lanes<16>(p);
  return launch_lanes<32>(p);
}

}  // namespace heddle::attention::cuda
