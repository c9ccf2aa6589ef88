// The memory behind a decoder's slots on a GPU.
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "heddle/model/cuda/batch.h"
#include "heddle/model/pool_memory.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

/// Copies are noted and done together when `flush` is called, which must be before the next step.
class DevicePools : public PoolMemory {
 public:
  DevicePools(const TransformerConfig& config, const Limits& limits,
              heddle::cuda::Context& context);

  void copy_past(int64_t from, int64_t to, int64_t count) override;
  void copy_cell(int32_t from, int32_t to) override;
  void clear_cell(int32_t cell) override;

  /// Queues what was noted: copies first, then clearings.
  void flush();

 private:
  void note(int32_t from, int32_t to);
  void queue(const std::vector<int32_t>& from, const std::vector<int32_t>& to,
             const std::vector<int32_t>& count);

  heddle::cuda::Context& context_;
  int64_t width_;
  Tensor pool_addresses_;  // i8, on the GPU: a pointer to each pool of the decoder's past
  int32_t pools_of_past_ = 0;
  std::vector<int32_t> from_, to_, count_, cleared_;
  std::unordered_set<int32_t> read_, written_;  // of the copies that were noted
  Staging staging_;
  heddle::cuda::Event copied_;  // what was staged has left
};

}  // namespace heddle::model::cuda
