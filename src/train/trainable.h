// What can be trained: parameters with gradients, and a loss over packed batches. The trainer knows
// no more of a model than this.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "heddle/data/packer.h"
#include "heddle/io/file_operations.h"
#include "heddle/model/training.h"

namespace heddle::train {

using Slot = model::TrainingTransformer::Slot;
using model::LossSettings;
using model::LossSums;

class Trainable {
 public:
  virtual ~Trainable() = default;

  /// Parameters and gradients, f32, contiguous; always the same ones in the same order.
  virtual std::span<Slot> slots() = 0;
  virtual void zero_gradients() = 0;
  virtual void values_changed() = 0;  ///< is called after values were written

  /// Adds the gradients of gradient_scale · loss.
  virtual LossSums forward_backward(const data::PackedBatch& batch,
                                    const LossSettings& settings) = 0;
  virtual LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) = 0;

  /// Floating-point operations of forward_backward; 0: not known.
  virtual double flops(const data::PackedBatch&) const { return 0; }

  /// Writes all that makes the model, as a model folder; load() reads the values back.
  virtual void save(const std::string& folder, io::FileOperations& files) = 0;
  virtual void load(const std::string& folder) = 0;
};

/// The values of the slots as one safetensors file, and back to the bit. Reading throws when names,
/// types or shapes are not those of the slots.
void save_values(std::span<const Slot> slots, const std::string& path, io::FileOperations& files);
void load_values(std::span<Slot> slots, const std::string& path);

/// Bytes of all values.
int64_t bytes_of(std::span<const Slot> slots);

}  // namespace heddle::train
