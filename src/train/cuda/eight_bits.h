// The moments of AdamW at 8 bits a number (../moment.h) on a GPU: with the names, shapes and bits
// that they have on the host.
#pragma once

#include <map>
#include <string>

#include "heddle/model/cuda/training.h"
#include "heddle/ops/cuda/launch.h"

namespace heddle::train::cuda {

class EightBitMoments {
 public:
  /// Zeros.
  explicit EightBitMoments(model::cuda::TrainingTransformer& transformer);

  const ops::cuda::EightBitState& state() const { return state_; }

  /// What holds them, on the GPU, sharing their memory: "exp_avg.NAME", "exp_avg_sq.NAME" and, of
  /// those with 8 bits, the same with ".absmax" behind.
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }

 private:
  ops::cuda::EightBitState state_{};
  Tensor blocks_, codes_, places_[2], sizes_[2], plain_[2];  // of the means, of the squares
  std::map<std::string, Tensor> tensors_;
};

}  // namespace heddle::train::cuda
