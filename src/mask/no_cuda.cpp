// Masks on a GPU in a build without CUDA: there is none, and making one says so.
#include "heddle/mask/device_mask.h"

namespace heddle {

DeviceMask::DeviceMask(const ColumnMask& mask, cuda::Context& context)
    : DeviceMask(std::vector<const ColumnMask*>{&mask}, context) {}
DeviceMask::DeviceMask(const std::vector<const ColumnMask*>&, cuda::Context& context)
    : DeviceMask(cuda::DeviceColumns{}, context) {}
DeviceMask::DeviceMask(const cuda::DeviceColumns& columns, cuda::Context& context,
                       std::optional<MaskReach>)
    : context_(&context), columns_(columns) {
  cuda::pinned_allocator();  // throws
  static_cast<void>(context_);
}

DeviceMask::DeviceMask(const cuda::DeviceColumns& columns, std::span<const TilePlan>, const Tensor&,
                       cuda::Context& context)
    : DeviceMask(columns, context) {}

int64_t DeviceMask::memory_size(const cuda::DeviceColumns&, std::span<const TilePlan>) { return 0; }
void DeviceMask::import(const cuda::StartendColumns&) {}
const cuda::TileBits& DeviceMask::tiles(cuda::TileAxis, TileShape) { return plans_.back()->bits; }
const uint16_t* DeviceMask::turns(TileShape) { return nullptr; }
cuda::KeySpans DeviceMask::key_spans() { return {}; }
int64_t DeviceMask::bytes() const { return 0; }

}  // namespace heddle
