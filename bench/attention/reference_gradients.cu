#include "reference_gradients.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace lab {

namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kWarps = 8;
constexpr int kParts = 8;  // elements of a row that a lane holds: head_dim <= 256

__device__ double to_double(uint16_t bits, bool bf16) {
  return bf16 ? double(__bfloat162float(__ushort_as_bfloat16(bits)))
              : double(__half2float(__ushort_as_half(bits)));
}

struct Vector {
  double x[kParts];
};

__device__ Vector load(const attention::Rows& rows, int batch, int token, int head, int dim,
                       bool bf16) {
  const auto* from = static_cast<const uint16_t*>(rows.data) + batch * rows.batch_stride +
                     token * rows.row_stride + head * rows.head_stride;
  Vector v;
  for (int i = 0; i < kParts; ++i) {
    const int e = i * 32 + static_cast<int>(threadIdx.x % 32);
    v.x[i] = e < dim ? to_double(from[e], bf16) : 0;
  }
  return v;
}

__device__ double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (int i = 0; i < kParts; ++i) sum += a.x[i] * b.x[i];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(kAll, sum, step);
  return sum;
}

__device__ void add(Vector& to, double factor, const Vector& v) {
  for (int i = 0; i < kParts; ++i) to.x[i] += factor * v.x[i];
}

__device__ void store(double* to, const Vector& v, int dim) {
  for (int i = 0; i < kParts; ++i) {
    const int e = i * 32 + static_cast<int>(threadIdx.x % 32);
    if (e < dim) to[e] = v.x[i];
  }
}

/// The score of a pair and dx / d(q·k).
__device__ double score(const attention::Problem& p, int head, int row, int key, double product,
                        double& derivative) {
  double x = double(p.scale) * product;
  derivative = p.scale;
  if (p.softcap > 0) {
    const double t = tanh(x / p.softcap);
    x = p.softcap * t;
    derivative *= 1 - t * t;
  }
  if (p.alibi_slopes != nullptr) x -= p.alibi_slopes[head] * abs(row + p.mask.offset - key);
  return x;
}

__device__ heddle::MaskColumn column_of(const attention::Problem& p, int batch, int kv_head,
                                        int key) {
  const int64_t set = mask_set(p.mask, batch, kv_head);
  return mask_column(p.mask, p.mask.bounds[set * p.mask.key_length + key], key);
}

__global__ void rows_kernel(GradientReference r, bool backward) {
  const attention::Problem& p = r.launch.problem;
  const int dim = p.head_dim, rows = p.mask.query_length;
  const int row = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  const int head = static_cast<int>(blockIdx.y), batch = static_cast<int>(blockIdx.z);
  if (row >= rows) return;
  const int kv_head = head / (p.heads / p.kv_heads);
  const int64_t at = (int64_t{batch} * p.heads + head) * rows + row;
  const Vector q = load(r.launch.q, batch, row, head, dim, p.bf16);
  const Vector d_out = load(r.launch.d_out, batch, row, head, dim, p.bf16);
  const double sink = p.sinks != nullptr ? double(p.sinks[head]) : -INFINITY;
  double maximum = -INFINITY, sum = 0;
  Vector total{};
  for (int key = 0; key < p.mask.key_length; ++key) {
    if (!allowed(column_of(p, batch, kv_head, key), row)) continue;
    const Vector k = load(r.launch.k, batch, key, kv_head, dim, p.bf16);
    const Vector v = load(r.launch.v, batch, key, kv_head, dim, p.bf16);
    double derivative;
    const double x = score(p, head, row, key, dot(q, k), derivative);
    if (backward) {
      const double d_p = dot(d_out, v);
      add(total, exp(x - r.lse[at]) * (d_p - r.delta[at]) * derivative, k);
      continue;
    }
    const double above = max(maximum, x), shrink = exp(maximum - above);
    for (double& element : total.x) element *= shrink;
    sum = sum * shrink + exp(x - above);
    add(total, exp(x - above), v);
    maximum = above;
  }
  if (backward) {
    store(r.d_q + ((int64_t{batch} * rows + row) * p.heads + head) * dim, total, dim);
    return;
  }
  const bool blind = maximum == -INFINITY;
  if (!blind) sum += exp(sink - maximum);
  for (double& element : total.x) element = blind ? 0 : element / sum;
  const double delta = dot(total, d_out);
  if (threadIdx.x % 32 == 0) {
    r.lse[at] = blind ? -INFINITY : maximum + log(sum);
    r.delta[at] = delta;
    const attention::RowValues& lse = r.launch.lse;
    lse.data[batch * lse.batch_stride + head * lse.head_stride + row] =
        static_cast<float>(r.lse[at]);
  }
  auto* out = static_cast<uint16_t*>(r.out.data) + batch * r.out.batch_stride +
              row * r.out.row_stride + head * r.out.head_stride;
  for (int i = 0; i < kParts; ++i) {
    const int e = i * 32 + static_cast<int>(threadIdx.x % 32);
    const auto x = static_cast<float>(total.x[i]);
    if (e < dim) {
      out[e] =
          p.bf16 ? __bfloat16_as_ushort(__float2bfloat16(x)) : __half_as_ushort(__float2half(x));
    }
  }
}

__global__ void keys_kernel(GradientReference r) {
  const attention::Problem& p = r.launch.problem;
  const int dim = p.head_dim, rows = p.mask.query_length, keys = p.mask.key_length;
  const int key = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  const int kv_head = static_cast<int>(blockIdx.y), batch = static_cast<int>(blockIdx.z);
  if (key >= keys) return;
  const Vector k = load(r.launch.k, batch, key, kv_head, dim, p.bf16);
  const Vector v = load(r.launch.v, batch, key, kv_head, dim, p.bf16);
  const heddle::MaskColumn column = column_of(p, batch, kv_head, key);
  const int group = p.heads / p.kv_heads;
  Vector d_k{}, d_v{};
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int row = 0; row < rows; ++row) {
      if (!allowed(column, row)) continue;
      const int64_t at = (int64_t{batch} * p.heads + head) * rows + row;
      const Vector q = load(r.launch.q, batch, row, head, dim, p.bf16);
      const Vector d_out = load(r.launch.d_out, batch, row, head, dim, p.bf16);
      double derivative;
      const double x = score(p, head, row, key, dot(q, k), derivative);
      const double weight = exp(x - r.lse[at]);
      add(d_v, weight, d_out);
      add(d_k, weight * (dot(d_out, v) - r.delta[at]) * derivative, q);
    }
  }
  const int64_t to = ((int64_t{batch} * keys + key) * p.kv_heads + kv_head) * dim;
  store(r.d_k + to, d_k, dim);
  store(r.d_v + to, d_v, dim);
}

__global__ void compare_kernel(attention::Rows found, const double* expected, int64_t tokens,
                               int64_t padded, int head_dim, bool bf16, Difference* result) {
  const int head = static_cast<int>(blockIdx.y), batch = static_cast<int>(blockIdx.z);
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t token = i / head_dim, e = i % head_dim;
  double error = 0, reference = 0;
  bool bad = false;
  if (token < padded) {
    const uint16_t bits = static_cast<const uint16_t*>(
        found.data)[batch * found.batch_stride + token * found.row_stride +
                    head * found.head_stride + e];
    if (token < tokens) {
      reference = expected[((batch * tokens + token) * gridDim.y + head) * head_dim + e];
      error = to_double(bits, bf16) - reference;
      bad = isnan(error);
      if (bad) error = 0;
    } else {
      bad = bits != 0xffff;
    }
  }
  double square = error * error, reference_square = reference * reference, greatest = abs(error);
  for (int step = 16; step > 0; step /= 2) {
    square += __shfl_xor_sync(kAll, square, step);
    reference_square += __shfl_xor_sync(kAll, reference_square, step);
    greatest = max(greatest, __shfl_xor_sync(kAll, greatest, step));
  }
  const unsigned bad_lanes = __ballot_sync(kAll, bad);
  if (threadIdx.x % 32 != 0) return;
  atomicAdd(&result->square, square);
  atomicAdd(&result->reference_square, reference_square);
  // Not negative, so the order of the bits is the order of the numbers.
  atomicMax(reinterpret_cast<unsigned long long*>(&result->greatest),
            static_cast<unsigned long long>(__double_as_longlong(greatest)));
  if (bad_lanes != 0) atomicAdd(&result->bad, static_cast<unsigned long long>(__popc(bad_lanes)));
}

}  // namespace

void compute_reference(const GradientReference& r) {
  const attention::Problem& p = r.launch.problem;
  const auto blocks = [](int count) {
    return static_cast<unsigned>((count + kWarps - 1) / kWarps);
  };
  const auto batches = static_cast<unsigned>(p.batches);
  const dim3 rows(blocks(p.mask.query_length), static_cast<unsigned>(p.heads), batches);
  const dim3 keys(blocks(p.mask.key_length), static_cast<unsigned>(p.kv_heads), batches);
  rows_kernel<<<rows, kWarps * 32>>>(r, false);
  rows_kernel<<<rows, kWarps * 32>>>(r, true);
  keys_kernel<<<keys, kWarps * 32>>>(r);
  LAB_CHECK(cudaGetLastError());
}

Difference compare(attention::Rows found, const double* expected, int batches, int64_t tokens,
                   int64_t padded, int heads, int head_dim, bool bf16) {
  Memory result(sizeof(Difference));
  const dim3 grid(static_cast<unsigned>((padded * head_dim + 255) / 256),
                  static_cast<unsigned>(heads), static_cast<unsigned>(batches));
  compare_kernel<<<grid, 256>>>(found, expected, tokens, padded, head_dim, bf16,
                                result.as<Difference>());
  LAB_CHECK(cudaGetLastError());
  Difference difference;
  result.download(&difference);
  return difference;
}

}  // namespace lab
