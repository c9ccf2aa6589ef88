// One number's update, in the order and with the roundings of the CPU: no multiply-add is fused.
#pragma once

#include "heddle/ops/cuda/common.cuh"

namespace heddle::ops::cuda {

/// What the host rounds once.
struct AdamWShares {
  float beta1, beta2, decay;                // of what was
  float new_mean, new_square, new_average;  // of what comes: 1 − β
};

inline AdamWShares shares_of(const AdamWUpdate& p) {
  return {static_cast<float>(p.beta1),         static_cast<float>(p.beta2),
          static_cast<float>(p.average_decay), static_cast<float>(1 - p.beta1),
          static_cast<float>(1 - p.beta2),     static_cast<float>(1 - p.average_decay)};
}

struct AdamWElement {
  float &mean, &square, &value, &average;
};

__device__ inline void update_element(const AdamWUpdate& p, const AdamWShares& s, float keep,
                                      float gradient, const AdamWElement& x) {
  const float g = __fmul_rn(p.scale, gradient);
  x.mean = __fadd_rn(__fmul_rn(s.beta1, x.mean), __fmul_rn(s.new_mean, g));
  x.square = __fadd_rn(__fmul_rn(s.beta2, x.square), __fmul_rn(__fmul_rn(s.new_square, g), g));
  const float root = __fadd_rn(__fmul_rn(__fsqrt_rn(x.square), p.root), p.epsilon);
  const float change = __fdiv_rn(__fmul_rn(p.rate, x.mean), root);
  x.value = __fsub_rn(__fmul_rn(keep, x.value), change);
  x.average = __fadd_rn(__fmul_rn(s.decay, x.average), __fmul_rn(s.new_average, x.value));
}

}  // namespace heddle::ops::cuda
