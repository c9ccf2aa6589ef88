// The whole model over a batch on a GPU, all target tokens at once: what training runs there, as
// ../packed_forward.h on the host.
#pragma once

#include <optional>

#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/pass.h"
#include "heddle/model/layers.h"

namespace heddle::model::cuda {

/// Lives until a tape's way back has been gone.
class DeviceForward {
 public:
  DeviceForward(DeviceBatch& batch, const TransformerConfig& config);
  DeviceForward(const DeviceForward&) = delete;
  DeviceForward& operator=(const DeviceForward&) = delete;

  /// The decoder's output [Tt, D]. Rows of either side are numbered from `first_row` on in dropout.
  ops::cuda::Rows run(Pass& pass, uint64_t first_row);

 private:
  int64_t width_;
  std::optional<PackedRows> sources_;  // of pairs
  DecoderRows targets_;
  std::optional<ops::cuda::Rows> encoded_;
  std::optional<PackedMemory<Pass>> memory_;
};

}  // namespace heddle::model::cuda
