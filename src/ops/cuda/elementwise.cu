// Sums, activations and gated linear units, all with dropout; a thread has one vector of 16 bytes.
#include "heddle/ops/cuda/activation.cuh"

namespace heddle::ops::cuda {

namespace {

template <Half kHalf>
__global__ void __launch_bounds__(kThreads) add_kernel(const __grid_constant__ Add p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  Eight y = unpack<kHalf>(vector_at(p.second, at));
  drop(p.dropout, at, y);
  if (p.first.data != nullptr) {
    const Eight first = unpack<kHalf>(vector_at(p.first, at));
#pragma unroll
    for (int i = 0; i < kVector; ++i) y.at[i] += first.at[i];
  }
  vector_at(p.y, at) = pack<kHalf>(y);
}

template <Half kHalf>
__global__ void __launch_bounds__(kThreads) activate_kernel(const __grid_constant__ Activate p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  const Eight x = unpack<kHalf>(vector_at(p.x, at));
  Eight y;
  each_activated(p.activation, x, [&](int i, float value, float) { y.at[i] = value; });
  drop(p.dropout, at, y);
  vector_at(p.y, at) = pack<kHalf>(y);
}

__global__ void __launch_bounds__(kThreads)
    activate_backward_kernel(const __grid_constant__ ActivateBackward p) {
  const Place at = place_of_thread();
  if (is_inside(at, p.extent.rows, p.extent.width / kVector)) activate_back(p, at);
}

/// The place in the second half of rows twice as wide.
__device__ Place in_second_half(const Place& at, const Extent& half) {
  return {at.row, at.vector + static_cast<int>(half.width / kVector)};
}

template <Half kHalf>
__global__ void __launch_bounds__(kThreads) glu_kernel(const __grid_constant__ Glu p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  const Eight gate = unpack<kHalf>(vector_at(p.x, at));
  const Eight x = unpack<kHalf>(vector_at(p.x, in_second_half(at, p.extent)));
  Eight y;
  each_activated(p.activation, gate, [&](int i, float value, float) { y.at[i] = value * x.at[i]; });
  drop(p.dropout, at, y);
  vector_at(p.y, at) = pack<kHalf>(y);
}

__global__ void __launch_bounds__(kThreads)
    glu_backward_kernel(const __grid_constant__ GluBackward p) {
  const Place at = place_of_thread();
  if (!is_inside(at, p.extent.rows, p.extent.width / kVector)) return;
  const Place second = in_second_half(at, p.extent);
  const Eight gate = unpack(vector_at(p.x, at)), x = unpack(vector_at(p.x, second));
  Eight d = unpack(vector_at(p.d_y, at));
  drop(p.dropout, at, d);
  Eight d_gate, d_x;
  each_activated(p.activation, gate, [&](int i, float value, float slope) {
    d_gate.at[i] = d.at[i] * x.at[i] * slope;
    d_x.at[i] = d.at[i] * value;
  });
  vector_at(p.d_x, at) = pack(d_gate);
  vector_at(p.d_x, second) = pack(d_x);
}

/// kEach pairs a thread.
template <int kEach, Half kHalf>
__global__ void __launch_bounds__(kThreads) turn_kernel(const __grid_constant__ Turn p) {
  const Place at = place_of_thread();
  const int half = static_cast<int>(p.head_width) / 2, threads_per_head = half / kEach;
  if (!is_inside(at, p.rows, p.heads * threads_per_head)) return;
  const int head = at.vector / threads_per_head;
  const int column = (at.vector - head * threads_per_head) * kEach;
  BFloat16* a = p.x.data + at.row * p.x.stride + head * p.head_width + column;
  BFloat16* b = a + half;
  const float* angles = p.table + p.positions[at.row] * p.head_width + column;
  if constexpr (kEach == kVector) {
    auto &first = *reinterpret_cast<uint4*>(a), &second = *reinterpret_cast<uint4*>(b);
    const Eight x = unpack<kHalf>(first), y = unpack<kHalf>(second);
    const Eight cosine = load8(angles), sine = load8(angles + half);
    Eight turned_x, turned_y;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float s = p.direction * sine.at[i];
      turned_x.at[i] = x.at[i] * cosine.at[i] - y.at[i] * s;
      turned_y.at[i] = y.at[i] * cosine.at[i] + x.at[i] * s;
    }
    first = pack<kHalf>(turned_x);
    second = pack<kHalf>(turned_y);
  } else {
    const float x = to_float<kHalf>(*a), y = to_float<kHalf>(*b), s = p.direction * angles[half];
    a->bits = bits_of<kHalf>(x * angles[0] - y * s);
    b->bits = bits_of<kHalf>(y * angles[0] + x * s);
  }
}

/// One thread for each vector of `p.extent`.
template <typename Parameters>
int launch_over(void (*kernel)(Parameters), const Parameters& p, Stream stream) {
  if (p.extent.rows == 0) return cudaSuccess;
  const Grid grid = grid_over(p.extent.rows, p.extent.width / kVector);
  kernel<<<grid.blocks, grid.threads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

int launch_add(const Add& add, Stream stream) {
  return with_half(add.y.half,
                   [&]<Half kHalf>() { return launch_over(add_kernel<kHalf>, add, stream); });
}

int launch_activate(const Activate& activate, Stream stream) {
  return with_half(activate.y.half, [&]<Half kHalf>() {
    return launch_over(activate_kernel<kHalf>, activate, stream);
  });
}

int launch_activate_backward(const ActivateBackward& activate, Stream stream) {
  return launch_over(activate_backward_kernel, activate, stream);
}

int launch_glu(const Glu& glu, Stream stream) {
  return with_half(glu.y.half,
                   [&]<Half kHalf>() { return launch_over(glu_kernel<kHalf>, glu, stream); });
}

int launch_glu_backward(const GluBackward& glu, Stream stream) {
  return launch_over(glu_backward_kernel, glu, stream);
}

int launch_turn(const Turn& turn, Stream stream) {
  if (turn.rows == 0 || turn.heads == 0) return cudaSuccess;
  const int64_t half = turn.head_width / 2;
  return with_half(turn.x.half, [&]<Half kHalf>() -> int {
    if (half % kVector == 0) {
      const Grid grid = grid_over(turn.rows, turn.heads * (half / kVector));
      turn_kernel<kVector, kHalf><<<grid.blocks, grid.threads, 0, stream>>>(turn);
    } else {
      const Grid grid = grid_over(turn.rows, turn.heads * half);
      turn_kernel<1, kHalf><<<grid.blocks, grid.threads, 0, stream>>>(turn);
    }
    return cudaGetLastError();
  });
}

}  // namespace heddle::ops::cuda
