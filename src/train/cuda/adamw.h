// AdamW over all parameters on a GPU, in one kernel; see ../adamw.h for what it computes. The state
// has the names and shapes that it has on the host.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "heddle/model/cuda/training.h"
#include "heddle/train/cuda/eight_bits.h"
#include "heddle/train/optimizer.h"

namespace heddle::train::cuda {

class AdamW : public Optimizer {
 public:
  AdamW(model::cuda::TrainingTransformer& transformer, const AdamWSettings& settings);

  double gradient_norm() override;
  std::string first_not_finite() override;
  void update(int64_t step, double rate, double scale) override;
  bool has_average() const override { return averages_.defined(); }
  void swap_average() override;
  std::map<std::string, Tensor> state() override;
  void load(const std::string& path) override;

 private:
  /// All of the state by name, on the GPU.
  std::map<std::string, Tensor> tensors() const;

  model::cuda::TrainingTransformer& transformer_;
  AdamWSettings settings_;
  Tensor means_, squares_;  // f32, as long as the parameters; not with 8 bits
  std::unique_ptr<EightBitMoments> eight_bits_;
  Tensor averages_;  // as long as the parameters
  Tensor scratch_;   // f64
  Tensor result_;    // i8 [8], page-locked
};

}  // namespace heddle::train::cuda
