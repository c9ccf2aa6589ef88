// What training a language model takes on a GPU: the same sums for a plan made before, and for the
// memory that is then taken in one piece.
#pragma once

#include <cstdint>

#include "heddle/model/config.h"
#include "heddle/model/lora.h"

namespace heddle::model {

/// One pass over a batch, forth and back.
struct DevicePass {
  int64_t tokens = 0;                  ///< T
  int64_t labels = 0;                  ///< rows that the loss reads, at most T
  const LoraSettings* lora = nullptr;  ///< null: all weights are trained
  bool recompute = false;
  bool trains = true;  ///< false: forth alone, as a reference
};

/// Bytes; sums over layers_of_pass.h as cuda/pass.h records them.
struct DeviceActivations {
  int64_t values = 0;     ///< what is kept for the way back
  int64_t gradients = 0;  ///< that exist at one time
  int64_t scratch = 0;    ///< of the operation that takes most
};
DeviceActivations device_activations(const TransformerConfig& config, const DevicePass& pass);

/// Throws, with a hint, for adapters that a GPU does not take: ranks that are no multiples of 8.
void check_on_gpu(const LoraSettings& settings);

/// Rows of logits that are made at a time on a GPU: enough that the sums of the table's gradient
/// are not fetched too often, few enough for some hundred MB.
int64_t device_logit_rows(int64_t vocabulary);

}  // namespace heddle::model
