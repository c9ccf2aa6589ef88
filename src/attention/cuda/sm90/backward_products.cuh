// The five matrix products of the backward, as its consumers issue them, and where they find their
// operands in shared memory.
#pragma once

#include "heddle/attention/cuda/sm90/backward.cuh"
#include "heddle/attention/cuda/sm90/backward_scores.cuh"
#include "heddle/attention/cuda/sm90/wgmma.cuh"

namespace heddle::attention::cuda::sm90 {

/// dK or dV of 64 keys: all columns of a consumer.
template <typename Shape>
using Sum = float[Shape::kColumns / 2];

/// 64 keys of K or V as the left operand.
template <typename Shape>
struct Keys {
  uint32_t address;
  uint32_t words[Shape::kKeysInRegisters ? Shape::kHeadDim / 16 : 1][4];

  /// `address` is that of the consumer's 64 keys, which have arrived there.
  __device__ __forceinline__ explicit Keys(uint32_t address) : address(address) {
    if constexpr (Shape::kKeysInRegisters) {
      static_assert(Shape::kBlocks == 1);
      const Consumer self = Consumer::fresh();
      const int row = self.warp() * 16 + self.lane() % 16;  // the one whose address this lane gives
#pragma unroll
      for (int step = 0; step < Shape::kHeadDim / 16; ++step) {
        const int chunk = 2 * step + self.lane() / 16;  // 16 bytes: 8 columns
        load_matrices(words[step], address + row * 128 + (chunk ^ (row % 8)) * 16);
      }
    }
  }
};

/// Issues result[64 keys × 64 rows] = keys[64 × E] · rows[64 × E]ᵀ.
template <typename Shape>
__device__ __forceinline__ void issue_scores(float (&result)[32], const Keys<Shape>& keys,
                                             uint32_t rows) {
  using Product = Wgmma<typename Shape::Element, 64>;
  const uint64_t a = operand(keys.address, 16), b = operand(rows, 16);
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kHeadDim / 16; ++step) {
    const int block = step / 4, within = (step % 4) * 32;  // 16 columns are 32 bytes
    const uint64_t at = advance(b, block * Shape::kRows * 128 + within);
    if constexpr (Shape::kKeysInRegisters) {
      Product::template rs<0>(result, keys.words[step], at, step != 0);
    } else {
      Product::template ss<0, 0>(result, advance(a, block * Shape::kKeys * 128 + within), at,
                                 step != 0);
    }
  }
  matrix_commit();
}

/// Issues sum[64 keys × columns] += weights[64 keys × 64 rows] · rows[64 × columns].
template <typename Shape>
__device__ __forceinline__ void issue_sum(Sum<Shape>& sum, const Weights& weights, uint32_t rows) {
  using Product = Wgmma<typename Shape::Element, Shape::kColumns>;
  const uint64_t b = operand(rows, Shape::kRows * 128);
  matrix_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    Product::template rs<1>(sum, weights[step], advance(b, step * 16 * 128), 1);
  }
  matrix_commit();
}

/// Issues a part of this consumer's dQ: 64 rows × 64 columns of dS[rows × keys] · K[keys × E].
template <typename Shape>
__device__ __forceinline__ void issue_queries(float (&d_q)[32], uint32_t d_scores, uint32_t keys) {
  using Product = Wgmma<typename Shape::Element, 64>;
  const uint64_t a = operand(d_scores, 16), b = operand(keys, 16);
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kKeys / 16; ++step) {
    Product::template ss<1, 1>(d_q, advance(a, step * 16 * 128), advance(b, step * 16 * 128),
                               step != 0);
  }
  matrix_commit();
}

/// Where the products of one consumer find their operands.
template <typename Shape>
struct Operands {
  uint32_t base, consumer;

  /// The compiler must know that all lanes hold the same address: it then adds to it in the uniform
  /// registers that the products read, in place of moving every address there.
  __device__ __forceinline__ explicit Operands(BackwardShared<Shape>& shared)
      : base(shared_address(&shared)), consumer(uniform(static_cast<int>(threadIdx.x / 128)) - 1) {}

  using Shared = BackwardShared<Shape>;
  static constexpr uint32_t kTileBytes = Shape::kRowBytes;
  static constexpr uint32_t kBlockBytes = Shape::kKeys * 128;

  /// Of S and dP: this consumer's 64 keys, and 64 rows of a query tile.
  __device__ __forceinline__ uint32_t keys() const {
    return base + uint32_t{offsetof(Shared, k)} +
           (Shape::kSplitColumns ? 0 : consumer * (64 * 128));
  }
  __device__ __forceinline__ uint32_t values() const {
    return base + uint32_t{offsetof(Shared, v)} +
           (Shape::kSplitColumns ? 0 : consumer * (64 * 128));
  }
  /// To the columns of this consumer, in a query tile.
  __device__ __forceinline__ uint32_t columns() const {
    return Shape::kSplitColumns ? consumer * (Shape::kRowBytes / 2) : 0;
  }
  __device__ __forceinline__ uint32_t queries(uint32_t slot, int block) const {
    return base + uint32_t{offsetof(Shared, q)} + slot * kTileBytes + block * (64 * 128);
  }
  __device__ __forceinline__ uint32_t d_out(uint32_t slot, int block) const {
    return base + uint32_t{offsetof(Shared, d_out)} + slot * kTileBytes + block * (64 * 128);
  }
  /// Of dQ a consumer owns 64 columns of tiles of 64 rows, or 128 of 256, and 64 rows of tiles of
  /// 128.
  __device__ __forceinline__ uint32_t d_scores(uint32_t slot) const {
    return base + uint32_t{offsetof(Shared, d_scores)} + slot * (Shape::kRowBlocks * kBlockBytes) +
           (Shape::kRowBlocks == 2 ? consumer * kBlockBytes : 0);
  }
  __device__ __forceinline__ uint32_t d_q_keys(int part = 0) const {
    return base + uint32_t{offsetof(Shared, k)} +
           (Shape::kRowBlocks == 1 ? (consumer * Shape::kQueryParts + part) * kBlockBytes : 0);
  }
};

}  // namespace heddle::attention::cuda::sm90
