// Matrix products on a GPU by cuBLASLt: halves in, sums in f32, halves or f32 out. The library is
// loaded when the first Gemm is made, so that whoever only attends does without it.
#pragma once

#include <cstdint>
#include <memory>

#include "heddle/base/half.h"
#include "heddle/ops/cuda/launch.h"
#include "heddle/tensor/cuda.h"

namespace heddle::ops::cuda {

/// A matrix as it lies in memory, row by row `stride` elements apart.
struct Factor {
  const BFloat16* data;
  int64_t stride;
  bool transposed = false;  ///< enters the product transposed
};

/// c [M, N] = alpha · a · b + beta · addend + bias, then max(·, 0) where `relu`.
struct Product {
  int64_t m, n, k;
  Factor a, b;  ///< [M, K] and [K, N], or transposed [K, M] and [N, K]
  void* c;
  int64_t c_stride;
  bool single = false;  ///< c is f32, else halves
  float alpha = 1, beta = 0;
  const void* addend = nullptr;  ///< of c's type; null: c itself
  int64_t addend_stride = 0;
  const BFloat16* bias = nullptr;  ///< [N]
  bool relu = false;
};

/// Products of one kind of halves. Plans are kept by shape. The same product takes the same plan in
/// every run, so it has the same bits. Not for use by several threads at once.
class Gemm {
 public:
  /// Throws, with a hint, when cuBLASLt is not to be found.
  explicit Gemm(heddle::cuda::Context& context, Half of = Half::bf16);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Queues it on the context's stream.
  void multiply(const Product& product);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heddle::ops::cuda
