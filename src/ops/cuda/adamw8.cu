// AdamW whose moments take 8 bits a number (train/moment.h), to the bit as on the CPU. A warp has a
// block of the state: it decodes, updates, finds the largest sizes and encodes again.
#include "heddle/ops/cuda/adamw.cuh"

namespace heddle::ops::cuda {

namespace {

constexpr int kEach = kStateBlock / 32;  // numbers of a lane

/// Of one moment of a block.
struct Coded {
  const float* code;  // [256], rising
  float* size;        // the largest of the block
  int8_t* places;     // [count], less 128
};

/// The place of the share nearest to `value`.
__device__ int nearest(const float* code, float value) {
  int low = 0, high = 255;
#pragma unroll
  for (int step = 0; step < 8; ++step) {
    const int middle = (low + high) / 2;
    if (high - low > 1) (code[middle] <= value ? low : high) = middle;
  }
  return value - code[low] <= code[high] - value ? low : high;
}

__device__ void decode(const Coded& from, int lane, int count, float (&numbers)[kEach]) {
  const float size = *from.size;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const int i = lane + 32 * j;
    numbers[j] = i < count ? __fmul_rn(size, from.code[from.places[i] + 128]) : 0;
  }
}

__device__ void encode(const Coded& to, int lane, int count, const float (&numbers)[kEach]) {
  float size = 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    if (lane + 32 * j < count) size = fmaxf(size, fabsf(numbers[j]));
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    size = fmaxf(size, __shfl_xor_sync(kAllLanes, size, step));
  }
  if (lane == 0) *to.size = size;
  const float inverse = size > 0 ? __fdiv_rn(1, size) : 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const int i = lane + 32 * j;
    if (i >= count) continue;
    const float share = isfinite(inverse) ? __fmul_rn(numbers[j], inverse)
                                          : __fdiv_rn(numbers[j], size);  // tiny sizes
    to.places[i] = static_cast<int8_t>(nearest(to.code, share) - 128);
  }
}

__global__ void __launch_bounds__(kThreads)
    adamw8_kernel(const __grid_constant__ AdamWUpdate p,
                  const __grid_constant__ EightBitState state, AdamWShares shares) {
  __shared__ float codes[2][256];  // with a sign, without
  for (int i = static_cast<int>(threadIdx.x); i < 512; i += kThreads) {
    codes[i / 256][i % 256] = state.codes[i];
  }
  __syncthreads();
  const int64_t index = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (index >= state.block_count) return;
  const StateBlock block = state.blocks[index];
  const Coded mean{codes[0], state.mean_sizes + index, state.mean_places + block.begin};
  const Coded square{codes[1], state.square_sizes + index, state.square_places + block.begin};
  const bool coded = block.plain < 0;
  const float keep = block.decays != 0 ? p.keep : 1.0f;

  float means[kEach], squares[kEach];
  if (coded) {
    decode(mean, lane, block.count, means);
    decode(square, lane, block.count, squares);
  } else {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int i = lane + 32 * j;
      means[j] = i < block.count ? state.plain_means[block.plain + i] : 0;
      squares[j] = i < block.count ? state.plain_squares[block.plain + i] : 0;
    }
  }
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const int i = lane + 32 * j;
    if (i >= block.count) continue;
    const int64_t at = block.begin + i;
    float value = p.values[at], average = p.averages != nullptr ? p.averages[at] : 0;
    update_element(p, shares, keep, p.gradients[at], {means[j], squares[j], value, average});
    p.values[at] = value;
    if (p.averages != nullptr) p.averages[at] = average;
    if (p.copies != nullptr) p.copies[at].bits = bits_of(value);
    if (!coded) {
      state.plain_means[block.plain + i] = means[j];
      state.plain_squares[block.plain + i] = squares[j];
    }
  }
  if (!coded) return;
  encode(mean, lane, block.count, means);
  encode(square, lane, block.count, squares);
}

}  // namespace

int launch_adamw(const AdamWUpdate& p, const EightBitState& state, Stream stream) {
  if (state.block_count == 0) return cudaSuccess;
  const unsigned blocks = blocks_for(32 * state.block_count, kThreads);
  adamw8_kernel<<<blocks, kThreads, 0, stream>>>(p, state, shares_of(p));
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
