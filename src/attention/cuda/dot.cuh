// The product of eight 16-bit numbers with eight others, summed in single precision.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace heddle::attention::cuda {

__device__ inline float2 to_floats(__nv_bfloat162 pair) { return __bfloat1622float2(pair); }
__device__ inline float2 to_floats(__half2 pair) { return __half22float2(pair); }

template <typename Pair>
__device__ float dot8(const uint4& a, const uint4& b) {
  const auto* x = reinterpret_cast<const Pair*>(&a);
  const auto* y = reinterpret_cast<const Pair*>(&b);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 left = to_floats(x[i]), right = to_floats(y[i]);
    sum += left.x * right.x + left.y * right.y;
  }
  return sum;
}

}  // namespace heddle::attention::cuda
