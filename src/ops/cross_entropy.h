// The training loss joined with the output projection: logits are made block by block, looked at
// and turned into gradients while they are warm; [R, V] is never stored.
//
//   logit[r, n] = x[r]·W[n] + bias[n],  ln p = logit − ln Z,  ln Z[r] = ln Σ_n exp logit[r, n]
//   loss[r] = (1 − λ) · ((1 − ε) · −ln p[label] + ε / V · Σ_n −ln p[n])
//             + λ · Σ_k q[k] · (ln q[k] − ln p[id[k]]) + z · (ln Z)²
//
// with ε the label smoothing and q the teacher's k best tokens, made to sum to 1.
#pragma once

#include <cstdint>
#include <span>

#include "heddle/ops/linear.h"

namespace heddle::ops {

struct CrossEntropy {
  std::span<const int32_t> labels{};  ///< [R]; −1: no loss and no gradient
  std::span<const float> weights{};   ///< [R], or empty: 1 each
  double label_smoothing = 0;
  double z_loss = 0;

  double teacher_weight = 0;               ///< λ
  std::span<const int32_t> teacher_ids{};  ///< [R, k]; −1: none
  std::span<const float> teacher_log_probabilities{};
  int64_t teacher_count = 0;  ///< k

  double gradient_scale = 1;

  /// Rows at once, where there are so many: each block of rows reads all of W, so that large
  /// vocabularies want more than what 8 MiB of logits hold.
  int64_t least_rows = 1;

  // Set for rows with a label and a weight; [R], or empty: not wanted.
  std::span<double> row_nll{};         ///< −ln p[label]
  std::span<double> row_mean_logit{};  ///< the mean of the logits
};

struct CrossEntropySums {
  double loss = 0;    ///< Σ weight · loss; NaN as soon as a logit is
  double nll = 0;     ///< Σ weight · −ln p[label]
  double weight = 0;  ///< Σ weight over rows with a label
  int64_t tokens = 0;
  int64_t correct = 0;  ///< labels whose logit is the largest
};

/// What W is made of and how the gradients of gradient_scale · Σ weight · loss leave: d_x [R, D]
/// overwritten, the others added to.
struct CrossEntropyGradients {
  LinearWeight weight;
  PlainRows d_x;
};

/// x [R, D], w [V, D], bias [V] or null; gradients null: the loss alone.
CrossEntropySums cross_entropy(Rows& x, const Matrix& w, const float* bias,
                               const CrossEntropy& loss, const CrossEntropyGradients* gradients,
                               Workspace& workspace);

}  // namespace heddle::ops
