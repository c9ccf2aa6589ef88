// A Transformer that is trained on a GPU: bf16 activations and products, f32 masters
// and gradients, all of it in the GPU's memory. The same layers and loss as ../training.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "heddle/model/training.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

class DeviceParameters;
class LaidOutBatch;

class TrainingTransformer {
 public:
  /// Throws with a hint where the model does not fit the kernels: widths and head widths that are
  /// no multiples of 8, widths beyond 16,384, heads wider than 256. `device` is 0.
  TrainingTransformer(ModelFiles files, int device);
  ~TrainingTransformer();
  TrainingTransformer(TrainingTransformer&&) noexcept;
  TrainingTransformer& operator=(TrainingTransformer&&) noexcept;

  const TransformerConfig& config() const;
  DeviceParameters& parameters();
  heddle::cuda::Context& context();

  /// Names and shapes in the order of the parameters' numbers.
  const std::vector<ParameterShape>& shapes() const;

  /// The model as it is now, copied to the host, f32.
  ModelFiles files() const;

  /// Overwrites the parameters by host tensors in the order of `shapes`.
  void load(std::span<const Tensor> values);

  /// The host's part of a batch that comes later, by any thread; empty: its labels teach nothing.
  std::shared_ptr<LaidOutBatch> lay_out(const TrainingBatch& batch) const;

  /// As the methods of model::TrainingTransformer; they return when the GPU is done. `workers` of
  /// the settings means nothing here.
  LossSums forward_backward(const TrainingBatch& batch, const LossSettings& settings,
                            LaidOutBatch* laid_out = nullptr);
  LossSums loss(const TrainingBatch& batch, const LossSettings& settings);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heddle::model::cuda
