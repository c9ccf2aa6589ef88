// A Transformer that is trained on a GPU: bf16 activations and products, f32 masters
// and gradients, all of it in the GPU's memory. The same layers and loss as ../training.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "heddle/model/cuda/trained_parameters.h"
#include "heddle/model/training.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

class LaidOutBatch;

class TrainingTransformer {
 public:
  /// Throws with a hint where the model does not fit the kernels: widths and head widths that are
  /// no multiples of 8, widths beyond 16,384, heads wider than 256. `device` is 0.
  TrainingTransformer(ModelFiles files, int device);

  /// A language model of which the adapter alone is trained; of the base there is a bf16 copy.
  TrainingTransformer(ModelFiles files, Adapter adapter, int device);
  ~TrainingTransformer();
  TrainingTransformer(TrainingTransformer&&) noexcept;
  TrainingTransformer& operator=(TrainingTransformer&&) noexcept;

  const TransformerConfig& config() const;
  TrainedParameters& parameters();  ///< what is trained
  heddle::cuda::Context& context();

  /// Names and shapes of what is trained, in the order of parameters_of; adapters behind.
  const std::vector<ParameterShape>& shapes() const;

  /// The model as it is now, copied to the host, f32; throws when an adapter is trained.
  ModelFiles files() const;

  /// Matrices are used as int8 would hold them, until their copies are written again.
  void round_to_int8();
  /// The adapter as it is now, copied to the host; throws when there is none.
  Adapter adapter() const;

  /// To be called after values and copies of the parameters were written.
  void copies_written();

  int64_t parameter_bytes() const;  ///< on the GPU: the base, and what is trained
  int64_t workspace_bytes() const;  ///< held there for activations, their gradients and scratch

  /// Overwrites the parameters by host tensors in the order of `shapes`.
  void load(std::span<const Tensor> values);

  /// The host's part of a batch that comes later, by any thread; empty: its labels teach nothing.
  std::shared_ptr<LaidOutBatch> lay_out(const TrainingBatch& batch) const;

  /// As the methods of model::TrainingTransformer; they return when the GPU is done. `workers` of
  /// the settings means nothing here.
  LossSums forward_backward(const TrainingBatch& batch, const LossSettings& settings,
                            LaidOutBatch* laid_out = nullptr);
  LossSums loss(const TrainingBatch& batch, const LossSettings& settings,
                LaidOutBatch* laid_out = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heddle::model::cuda
