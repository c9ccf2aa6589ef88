// What a fine-tuning will take, before it takes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "heddle/model/config.h"
#include "heddle/model/lora.h"
#include "heddle/tensor/buffer.h"

namespace heddle::train {

struct PlannedRun {
  std::optional<model::LoraSettings> lora;  ///< nothing: all weights are trained
  int64_t longest = 0;                      ///< tokens of an example
  int64_t batch_tokens = 0;                 ///< of a batch
  DeviceType device = DeviceType::cpu;
  int workers = 1;
  bool recompute = false;
  int state_bits = 32;    ///< of the optimiser's moments
  int64_t reference = 0;  ///< numbers of a second model beside it
};

struct MemoryPart {
  std::string name;
  int64_t bytes = 0;
};

struct MemoryPlan {
  std::vector<MemoryPart> parts;
  int64_t trained = 0;  ///< numbers that are trained

  int64_t bytes() const;
  std::string text() const;  ///< a line a part, and the sum
};

/// Of the host's memory, or of the GPU's.
MemoryPlan plan_memory(const model::TransformerConfig& config, const PlannedRun& run);

/// The most tokens of an example, and of its row, with which the run takes at most `bytes`; 0:
/// none.
int64_t longest_that_fits(const model::TransformerConfig& config, PlannedRun run, int64_t bytes);

/// What the machine, or its GPU, has free; 0: not known.
int64_t free_memory(DeviceType device);

}  // namespace heddle::train
