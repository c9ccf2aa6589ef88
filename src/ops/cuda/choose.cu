// The choice of tokens from logits that pass by in blocks of columns: a warp a row, which keeps the
// best so far in memory from one block to the next.
#include "heddle/ops/cuda/common.cuh"
#include "heddle/ops/cuda/decode.h"

namespace heddle::ops::cuda {

namespace {

constexpr int kWarps = kThreads / 32;

__device__ float minus_infinity() { return __int_as_float(0xff800000); }

struct Four {
  float at[4];
};

/// The logits of four columns, −inf where there is none, it is NaN or the token is forbidden.
__device__ Four four_of(const ChooseBlock& p, int64_t row, int64_t column) {
  Four x{{minus_infinity(), minus_infinity(), minus_infinity(), minus_infinity()}};
  if (column >= p.extent.width) return x;
  const float4 logits = *reinterpret_cast<const float4*>(p.logits + row * p.extent.width + column);
  const float4 bias = *reinterpret_cast<const float4*>(p.bias + column);
  const float sums[4] = {logits.x + bias.x, logits.y + bias.y, logits.z + bias.z,
                         logits.w + bias.w};
  uint32_t forbidden = 0;
  const int64_t token = p.first + column;  // a multiple of 4: the bits are in one word
  if (p.forbidden != nullptr) forbidden = p.forbidden[row * p.words + token / 32] >> token % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if ((forbidden >> i & 1u) == 0 && sums[i] == sums[i]) x.at[i] = sums[i];
  }
  return x;
}

__global__ void __launch_bounds__(kThreads) best_kernel(const __grid_constant__ ChooseBlock p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= p.extent.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float best = minus_infinity();
  int32_t id = -1;
  for (int64_t column = 4 * lane; column < p.extent.width; column += 128) {
    const Four x = four_of(p, row, column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (x.at[i] > best) {
        best = x.at[i];
        id = static_cast<int32_t>(p.first + column) + i;
      }
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best, step);
    const int32_t other_id = __shfl_xor_sync(kAllLanes, id, step);
    if (other > best ||
        (other == best && static_cast<uint32_t>(other_id) < static_cast<uint32_t>(id))) {
      best = other;
      id = other_id;
    }
  }
  if (lane != 0) return;
  if (p.first > 0 && !(best > p.best.logits[row])) return;  // an earlier one wins ties
  p.best.ids[row] = id;
  p.best.logits[row] = best;
}

/// Up to 64 choices, best first: lane l has those at l and l + 32.
struct Ranked {
  float logit[2];
  int32_t id[2];

  __device__ void clear() {
    for (int i = 0; i < 2; ++i) {
      logit[i] = minus_infinity();
      id[i] = -1;
    }
  }

  /// Puts one in, behind those that are as good; the same one in all lanes.
  __device__ void insert(float x, int32_t token, int lane) {
    const unsigned ahead_low = __ballot_sync(kAllLanes, logit[0] >= x);
    const unsigned ahead_high = __ballot_sync(kAllLanes, logit[1] >= x);
    const int place = __popc(ahead_low) + __popc(ahead_high);
    const float last_logit = __shfl_sync(kAllLanes, logit[0], 31);
    const int32_t last_id = __shfl_sync(kAllLanes, id[0], 31);
#pragma unroll
    for (int i = 1; i >= 0; --i) {
      float before = __shfl_up_sync(kAllLanes, logit[i], 1);
      int32_t id_before = __shfl_up_sync(kAllLanes, id[i], 1);
      if (i == 1 && lane == 0) {
        before = last_logit;
        id_before = last_id;
      }
      const int mine = lane + 32 * i;
      if (mine > place) {
        logit[i] = before;
        id[i] = id_before;
      } else if (mine == place) {
        logit[i] = x;
        id[i] = token;
      }
    }
  }

  __device__ float logit_at(int place) const {
    return __shfl_sync(kAllLanes, place < 32 ? logit[0] : logit[1], place % 32);
  }
};

/// Σ exp(x − greatest), with the greatest of what came so far.
struct ExpSum {
  float greatest, sum;

  __device__ void join(float other_greatest, float other_sum) {
    const float top = fmaxf(greatest, other_greatest);
    if (top == minus_infinity()) return;
    sum = sum * fast_exp(greatest - top) + other_sum * fast_exp(other_greatest - top);
    greatest = top;
  }
};

__global__ void __launch_bounds__(kThreads) top_kernel(const __grid_constant__ ChooseBlock p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= p.extent.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % 32, k = p.best.k;
  Ranked ranked;
  ranked.clear();
  ExpSum all{minus_infinity(), 0.0f};
  if (p.first > 0) {
    for (int i = 0; i < 2; ++i) {
      if (lane + 32 * i >= k) continue;
      ranked.logit[i] = p.best.logits[row * k + lane + 32 * i];
      ranked.id[i] = p.best.ids[row * k + lane + 32 * i];
    }
    if (lane == 0) all = {p.best.greatest[row], p.best.sums[row]};
  }
  float least = ranked.logit_at(k - 1);
  for (int64_t from = 0; from < p.extent.width; from += 128) {
    const int64_t column = from + 4 * lane;
    const Four x = four_of(p, row, column);
    const float top = fmaxf(fmaxf(x.at[0], x.at[1]), fmaxf(x.at[2], x.at[3]));
    if (top > minus_infinity()) {
      all.join(top, 0.0f);
#pragma unroll
      for (int i = 0; i < 4; ++i) all.sum += fast_exp(x.at[i] - all.greatest);
    }
    // In the order of the tokens, so that ties go to the lower one.
    for (unsigned left = __ballot_sync(kAllLanes, top > least); left != 0; left &= left - 1) {
      const int owner = __ffs(static_cast<int>(left)) - 1;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float each = __shfl_sync(kAllLanes, x.at[i], owner);
        if (!(each > least)) continue;
        ranked.insert(each, static_cast<int32_t>(p.first + from) + 4 * owner + i, lane);
        least = ranked.logit_at(k - 1);
      }
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float greatest = __shfl_xor_sync(kAllLanes, all.greatest, step);
    const float sum = __shfl_xor_sync(kAllLanes, all.sum, step);
    all.join(greatest, sum);
  }
  for (int i = 0; i < 2; ++i) {
    if (lane + 32 * i >= k) continue;
    p.best.logits[row * k + lane + 32 * i] = ranked.logit[i];
    p.best.ids[row * k + lane + 32 * i] = ranked.id[i];
  }
  if (lane != 0) return;
  p.best.greatest[row] = all.greatest;
  p.best.sums[row] = all.sum;
}

__global__ void __launch_bounds__(kThreads)
    fill_bits_kernel(uint32_t* bits, int64_t count, uint32_t word) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) bits[i] = word;
}

__global__ void __launch_bounds__(kThreads)
    mark_bits_kernel(const __grid_constant__ Forbidden p, const int32_t* rows,
                     const int32_t* tokens, int64_t count, bool bit) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  uint32_t* word = p.bits + rows[i] * p.words + tokens[i] / 32;
  const uint32_t mine = 1u << tokens[i] % 32;
  if (bit) {
    atomicOr(word, mine);
  } else {
    atomicAnd(word, ~mine);
  }
}

}  // namespace

int launch_fill_bits(const Forbidden& forbidden, bool all, Stream stream) {
  const int64_t count = forbidden.rows * forbidden.words;
  if (count == 0) return cudaSuccess;
  fill_bits_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream>>>(forbidden.bits, count,
                                                                         all ? ~0u : 0u);
  return cudaGetLastError();
}

int launch_mark_bits(const Forbidden& forbidden, const int32_t* rows, const int32_t* tokens,
                     int64_t count, bool bit, Stream stream) {
  if (count == 0) return cudaSuccess;
  mark_bits_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream>>>(forbidden, rows, tokens,
                                                                         count, bit);
  return cudaGetLastError();
}

int launch_choose(const ChooseBlock& block, Stream stream) {
  if (block.extent.rows == 0) return cudaSuccess;
  const unsigned blocks = blocks_for(block.extent.rows, kWarps);
  if (block.best.greatest == nullptr && block.best.k == 1) {
    best_kernel<<<blocks, kThreads, 0, stream>>>(block);
  } else if (block.best.greatest != nullptr && block.best.k >= 1 && block.best.k <= kMostChoices) {
    top_kernel<<<blocks, kThreads, 0, stream>>>(block);
  } else {
    return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
