// What can be trained: parameters with gradients, and a loss over packed batches. The trainer knows
// no more of a model than this.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "heddle/data/packer.h"
#include "heddle/io/file_operations.h"
#include "heddle/model/training.h"

namespace heddle::train {

using Slot = model::TrainingTransformer::Slot;
using model::LossSettings;
using model::LossSums;

class Optimizer;
struct AdamWSettings;

class Trainable {
 public:
  virtual ~Trainable() = default;

  /// What updates the parameters; outlived by this and by the threads, which may be null.
  virtual std::unique_ptr<Optimizer> optimizer(const AdamWSettings& settings,
                                               ThreadPool* threads) = 0;
  virtual int64_t parameters() const = 0;  ///< how many numbers, f32 each

  virtual void zero_gradients() = 0;
  virtual void values_changed() = 0;  ///< is called after values were written

  /// What of a batch needs no parameters, done ahead on another thread.
  virtual void prepare(data::PackedBatch&) {}

  /// Adds the gradients of gradient_scale · loss.
  virtual LossSums forward_backward(const data::PackedBatch& batch,
                                    const LossSettings& settings) = 0;
  virtual LossSums loss(const data::PackedBatch& batch, const LossSettings& settings) = 0;

  /// Names of the figures that its sums have, each divided by the sum of the weights in a report;
  /// a model without any has the token's loss (nll) instead.
  virtual std::span<const std::string_view> figures() const { return {}; }

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

/// The tensors of a safetensors file that has those named, and no others, in f32 and in these
/// shapes; in the order of the names.
std::vector<Tensor> read_values(const std::vector<model::ParameterShape>& shapes,
                                const std::string& path);

/// How many numbers the slots have.
int64_t parameters_of(std::span<const Slot> slots);

}  // namespace heddle::train
