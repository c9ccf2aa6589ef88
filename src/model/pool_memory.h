// The memory behind the slots of a DecoderState, which does the accounting: on the host here, on a
// GPU in cuda/pools.h.
#pragma once

#include <cstdint>
#include <vector>

#include "heddle/model/config.h"
#include "heddle/tensor/tensor.h"

namespace heddle::model {

/// How much a DecoderState holds.
struct Limits {
  int rows = 1;               ///< slots: sentences, or hypotheses, decoded at once
  int64_t source_tokens = 0;  ///< of all slots together; forks count once; language models: 0
  int64_t target_tokens = 0;  ///< of all slots together, each reserving its target limit
  DType memory = DType::f32;  ///< of keys and values: f32 or bf16
};

/// Tensors of one size from the start.
struct StatePools {
  DType dtype = DType::f32;
  std::vector<Tensor> cross_keys, cross_values;  ///< a decoder layer: [source_tokens, K · E]
  std::vector<Tensor> self_keys, self_values;    ///< a decoder layer: [target_tokens, K · E]
  Tensor cells;                                  ///< SSRU: f32 [layers, rows, D]
};

class PoolMemory {
 public:
  /// Uninitialised pools of these sizes.
  PoolMemory(const TransformerConfig& config, const Limits& limits, Allocator& memory);
  virtual ~PoolMemory() = default;
  PoolMemory(const PoolMemory&) = delete;
  PoolMemory& operator=(const PoolMemory&) = delete;

  const StatePools& pools() const { return pools_; }
  int64_t bytes() const;

  /// Copies `count` tokens' keys and values from the beginning of a slot's range of the target pool
  /// to that of another's, in each layer.
  virtual void copy_past(int64_t from, int64_t to, int64_t count) = 0;

  virtual void copy_cell(int32_t from, int32_t to) = 0;  ///< the SSRU's, in each layer
  virtual void clear_cell(int32_t cell) = 0;             ///< … set to zero

 protected:
  StatePools pools_;
};

class HostPools : public PoolMemory {
 public:
  HostPools(const TransformerConfig& config, const Limits& limits);
  void copy_past(int64_t from, int64_t to, int64_t count) override;
  void copy_cell(int32_t from, int32_t to) override;
  void clear_cell(int32_t cell) override;

 private:
  float* cell(int64_t layer, int32_t row) const;
};

}  // namespace heddle::model
