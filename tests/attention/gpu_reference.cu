#include "tests/attention/gpu_reference.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace heddle::test {

namespace {

constexpr int kThreads = 128;
constexpr int kMaxHeadDim = 256;

template <typename T>
__device__ double value(T x) {
  return static_cast<double>(static_cast<float>(x));
}

/// Rounds to 16 bits when the reference plays the baseline.
template <typename T>
__device__ double rounded(const GpuReference& p, double x) {
  if (!p.rounding) return x;
  return value(static_cast<T>(static_cast<float>(x)));
}

template <typename T>
__device__ const T* row_of(const void* data, int row, int heads, int head, int width) {
  return static_cast<const T*>(data) + (static_cast<int64_t>(row) * heads + head) * width;
}

struct Score {
  double x;      // after scale, soft-cap and ALiBi
  double slope;  // dx / d(scale · q·k)
};

template <typename T>
__device__ Score score_of(const GpuReference& p, const T* q, const T* k, int head, int i, int j) {
  double dot = 0;
  for (int e = 0; e < p.head_dim; ++e) dot += value(q[e]) * value(k[e]);
  double x = rounded<T>(p, p.scale * rounded<T>(p, dot)), slope = 1;
  if (p.softcap > 0) {
    const double t = tanh(x / p.softcap);
    x = rounded<T>(p, p.softcap * t);
    slope = 1 - t * t;
  }
  if (p.slopes != nullptr) {
    x = rounded<T>(p,
                   x - static_cast<double>(p.slopes[head]) * fabs(double(i) + p.mask.offset - j));
  }
  return {x, slope};
}

/// Sum or maximum over the block; every thread gets it.
template <typename Combine>
__device__ double reduce(double x, Combine combine) {
  __shared__ double shares[kThreads];
  __syncthreads();
  shares[threadIdx.x] = x;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      shares[threadIdx.x] = combine(shares[threadIdx.x], shares[threadIdx.x + half]);
    }
  }
  __syncthreads();
  return shares[0];
}

__device__ double sum_of(double x) {
  return reduce(x, [](double a, double b) { return a + b; });
}
__device__ double max_of(double x) {
  return reduce(x, [](double a, double b) { return fmax(a, b); });
}

template <typename T>
__device__ double dot_of(const T* a, const T* b, int width) {
  double sum = 0;
  for (int e = 0; e < width; ++e) sum += value(a[e]) * value(b[e]);
  return sum;
}

/// One block a (row, head): lse, out, Δ and dQ.
template <typename T>
__global__ void rows_kernel(GpuReference p) {
  __shared__ double weights[kThreads], scores[kThreads];
  const int i = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), kv = head / (p.heads / p.kv_heads);
  const int set = mask_head(p.mask, kv), keys = p.mask.key_length, width = p.head_dim;
  const T* q = row_of<T>(p.q, i, p.heads, head, width);
  const T* d_out = row_of<T>(p.d_out, i, p.heads, head, width);
  const double infinity = static_cast<double>(__builtin_huge_valf());
  double top = -infinity, sum = 0;
  for (int j = thread; j < keys; j += kThreads) {
    if (!allowed(p.mask, set, i, j)) continue;
    const double x = score_of<T>(p, q, row_of<T>(p.k, j, p.kv_heads, kv, width), head, i, j).x;
    const double higher = fmax(top, x);
    sum = sum * exp(top - higher) + exp(x - higher);
    top = higher;
  }
  double all_top = max_of(top);
  const bool blind = all_top == -infinity;
  if (p.sinks != nullptr) all_top = fmax(all_top, static_cast<double>(p.sinks[head]));
  sum = sum_of(top == -infinity ? 0 : sum * exp(top - all_top));
  if (p.sinks != nullptr) sum += exp(static_cast<double>(p.sinks[head]) - all_top);
  const double lse = blind ? -infinity : all_top + log(sum);

  double out[2] = {0, 0}, delta = 0;  // a thread owns columns thread and thread + 128
  for (int begin = 0; begin < keys && !blind; begin += kThreads) {
    const int j = begin + thread;
    weights[thread] = 0;
    if (j < keys && allowed(p.mask, set, i, j)) {
      const T* k = row_of<T>(p.k, j, p.kv_heads, kv, width);
      const double w = rounded<T>(p, exp(score_of<T>(p, q, k, head, i, j).x - lse));
      weights[thread] = w;
      delta += w * rounded<T>(p, dot_of(d_out, row_of<T>(p.v, j, p.kv_heads, kv, width), width));
    }
    __syncthreads();
    for (int n = 0; n < kThreads && begin + n < keys; ++n) {
      if (weights[n] == 0) continue;
      const T* v = row_of<T>(p.v, begin + n, p.kv_heads, kv, width);
      for (int c = 0; c < 2; ++c) {
        if (thread + c * kThreads < width) out[c] += weights[n] * value(v[thread + c * kThreads]);
      }
    }
    __syncthreads();
  }
  if (p.rounding) {  // what is kept for the backward is the rounded output, not the weights
    delta = 0;
    for (int e = thread; e < width; e += kThreads) {
      delta += rounded<T>(p, out[e / kThreads]) * value(d_out[e]);
    }
  }
  delta = sum_of(delta);
  double d_q[2] = {0, 0};
  for (int begin = 0; begin < keys && !blind; begin += kThreads) {
    const int j = begin + thread;
    scores[thread] = 0;
    if (j < keys && allowed(p.mask, set, i, j)) {
      const Score score = score_of<T>(p, q, row_of<T>(p.k, j, p.kv_heads, kv, width), head, i, j);
      const double w = rounded<T>(p, exp(score.x - lse));
      const double d_w =
          rounded<T>(p, dot_of(d_out, row_of<T>(p.v, j, p.kv_heads, kv, width), width));
      scores[thread] = rounded<T>(p, w * (d_w - delta) * score.slope);
    }
    __syncthreads();
    for (int n = 0; n < kThreads && begin + n < keys; ++n) {
      if (scores[n] == 0) continue;
      const T* k = row_of<T>(p.k, begin + n, p.kv_heads, kv, width);
      for (int c = 0; c < 2; ++c) {
        if (thread + c * kThreads < width) d_q[c] += scores[n] * value(k[thread + c * kThreads]);
      }
    }
    __syncthreads();
  }
  for (int c = 0; c < 2; ++c) {
    const int e = thread + c * kThreads;
    if (e >= width) continue;
    const int64_t at = (static_cast<int64_t>(i) * p.heads + head) * width + e;
    p.out[at] = rounded<T>(p, out[c]);
    p.d_q[at] = rounded<T>(p, p.scale * d_q[c]);
  }
  if (thread == 0) {
    p.lse[static_cast<int64_t>(head) * p.mask.query_length + i] = lse;
    p.delta[static_cast<int64_t>(head) * p.mask.query_length + i] = delta;
  }
}

/// One block a (key, key/value head): dK and dV over all rows and the heads of the group.
template <typename T>
__global__ void keys_kernel(GpuReference p) {
  __shared__ double weights[kThreads], scores[kThreads];
  const int j = static_cast<int>(blockIdx.x), kv = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), group = p.heads / p.kv_heads;
  const int set = mask_head(p.mask, kv), rows = p.mask.query_length, width = p.head_dim;
  const T* k = row_of<T>(p.k, j, p.kv_heads, kv, width);
  const T* v = row_of<T>(p.v, j, p.kv_heads, kv, width);
  const MaskColumn column = mask_column(p.mask, set, j);
  double d_k[2] = {0, 0}, d_v[2] = {0, 0};
  for (int head = kv * group; head < (kv + 1) * group; ++head) {
    for (int begin = 0; begin < rows; begin += kThreads) {
      const int i = begin + thread;
      weights[thread] = scores[thread] = 0;
      if (i < rows && allowed(column, i)) {
        const int64_t at = static_cast<int64_t>(head) * rows + i;
        const T* q = row_of<T>(p.q, i, p.heads, head, width);
        const Score score = score_of<T>(p, q, k, head, i, j);
        const double w = rounded<T>(p, exp(score.x - p.lse[at]));
        const double d_w =
            rounded<T>(p, dot_of(row_of<T>(p.d_out, i, p.heads, head, width), v, width));
        weights[thread] = w;
        scores[thread] = rounded<T>(p, w * (d_w - p.delta[at]) * score.slope);
      }
      __syncthreads();
      for (int n = 0; n < kThreads && begin + n < rows; ++n) {
        if (weights[n] == 0) continue;
        const T* q = row_of<T>(p.q, begin + n, p.heads, head, width);
        const T* d_out = row_of<T>(p.d_out, begin + n, p.heads, head, width);
        for (int c = 0; c < 2; ++c) {
          const int e = thread + c * kThreads;
          if (e >= width) continue;
          d_v[c] += weights[n] * value(d_out[e]);
          d_k[c] += scores[n] * value(q[e]);
        }
      }
      __syncthreads();
    }
  }
  for (int c = 0; c < 2; ++c) {
    const int e = thread + c * kThreads;
    if (e >= width) continue;
    const int64_t at = (static_cast<int64_t>(j) * p.kv_heads + kv) * width + e;
    p.d_k[at] = rounded<T>(p, p.scale * d_k[c]);
    p.d_v[at] = rounded<T>(p, d_v[c]);
  }
}

template <typename T>
int run_as(const GpuReference& p) {
  rows_kernel<T><<<dim3(static_cast<unsigned>(p.mask.query_length), static_cast<unsigned>(p.heads)),
                   kThreads>>>(p);
  keys_kernel<T>
      <<<dim3(static_cast<unsigned>(p.mask.key_length), static_cast<unsigned>(p.kv_heads)),
         kThreads>>>(p);
  return cudaDeviceSynchronize();
}

}  // namespace

int run(const GpuReference& reference) {
  static_assert(kMaxHeadDim <= 2 * kThreads);
  return reference.bf16 ? run_as<__nv_bfloat16>(reference) : run_as<__half>(reference);
}

}  // namespace heddle::test
