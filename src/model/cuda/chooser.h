// The output projection of a step on a GPU and the choice of tokens from it. Logits are made for
// some columns at a time, which stay in the GPU's cache until they have been looked at, and are
// never stored as [R, V] but where they are asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/inference.h"
#include "heddle/ops/cuda/decode.h"
#include "heddle/ops/cuda/gemm.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

/// What rows may not choose. Lists of one step, one a row; no lists: anything, or nothing.
struct Restriction {
  std::span<const std::span<const int32_t>> candidates{};  ///< [R]
  std::span<const std::span<const int32_t>> banned{};      ///< [R]
  bool given() const { return !candidates.empty() || !banned.empty(); }
};

/// The k best of each row, best first: −1 where there are fewer.
struct RankedTokens {
  std::vector<int32_t> ids;     ///< [R, k]
  std::vector<float> logits;    ///< [R, k]
  std::vector<float> log_sums;  ///< [R]: ln Σ exp of all logits
};

class Chooser {
 public:
  /// For up to `rows` rows; bias [V].
  Chooser(const InferenceTransformer& model, int64_t rows, std::span<const float> bias,
          heddle::cuda::Context& context);

  /// Queues the choice of the best token of hidden [R, D]; the ids are at best_ids() then.
  void best(const BFloat16* hidden, int64_t rows, const Restriction& restriction,
            ops::cuda::Gemm& gemm);
  const Tensor& best_ids() const { return ids_; }  ///< i32 [rows · kMostChoices], on the GPU

  /// Waits.
  RankedTokens top(const BFloat16* hidden, int64_t rows, int k, const Restriction& restriction,
                   ops::cuda::Gemm& gemm);

  /// Waits. values [R, V] = logits + bias.
  void logits(const BFloat16* hidden, int64_t rows, std::span<float> values, ops::cuda::Gemm& gemm);

 private:
  void choose(const BFloat16* hidden, int64_t rows, const ops::cuda::Choices& best,
              const Restriction& restriction, ops::cuda::Gemm& gemm);
  void forbid(int64_t rows, const Restriction& restriction);
  void mark(std::span<const std::span<const int32_t>> lists, bool bit,
            const ops::cuda::Forbidden& forbidden);

  const InferenceTransformer& model_;
  heddle::cuda::Context& context_;
  int64_t vocabulary_, padded_;
  std::vector<float> host_bias_;  // [V]
  Tensor bias_;                   // f32 [padded], −inf behind V
  Tensor block_;                  // f32: the logits at hand
  Tensor ids_, values_;           // [rows · kMostChoices]
  Tensor greatest_, sums_;        // f32 [rows]
  Tensor forbidden_;              // i32 [rows, words], or undefined
  Staging staging_;
  heddle::cuda::Event copied_;
};

}  // namespace heddle::model::cuda
