// The adapter of a projection, packed: what Pass::linear adds to its result (lora.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "heddle/model/lora.h"
#include "heddle/ops/matrix.h"
#include "heddle/tensor/tensor.h"

namespace heddle::model {

struct Weights;

struct LowRank {
  /// That of one of the weights W [N, K] that stand above each other in the projection.
  struct Change {
    int64_t first = 0, rows = 0;                          ///< its columns of y, N of them
    int32_t weight = -1, a = -1, b = -1, magnitude = -1;  ///< numbers of parameters
    ops::Matrix up;                                       ///< s · B [N, r]
    std::vector<float> gain, inverse_length;  ///< DoRA: m / ‖W + s·B A‖ and 1 / ‖…‖, [N]
  };
  ops::Matrix down;  ///< the A of all changes above each other: [C · r, K]
  std::vector<Change> changes;
  int64_t rank = 0;
  float scale = 0;  ///< s
  double dropout = 0;
};

/// Gives the projections of the adapted modules their changes. `values` are those of
/// parameters_of(config), then those of lora_parameters; the former may be undefined, and there are
/// then no gains.
void attach(Weights& weights, const LoraSettings& settings, std::span<const Tensor> values);

/// Takes over other values, f32, of an adapter.
void update_low_rank(Weights& weights, std::span<const Tensor> values);

}  // namespace heddle::model
