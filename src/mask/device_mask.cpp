#include "heddle/mask/device_mask.h"

namespace heddle {

namespace {

cuda::DeviceColumns shape_of(const ColumnMask& mask, size_t batches) {
  return {nullptr,           static_cast<int32_t>(batches),
          mask.heads(),      mask.query_length(),
          mask.key_length(), mask.offset(),
          mask.causal()};
}

/// Bounds of all masks, packed as kernels read them: i32 [batches, heads, key_length, 4].
Tensor pack(const std::vector<const ColumnMask*>& masks) {
  const ColumnMask& first = *masks.front();
  Tensor packed = Tensor::empty(
      {static_cast<int64_t>(masks.size()), first.heads(), first.key_length(), 4}, DType::i32);
  int32_t* to = packed.data<int32_t>();
  for (const ColumnMask* mask : masks) {
    HEDDLE_CHECK(mask->query_length() == first.query_length() &&
                     mask->key_length() == first.key_length() && mask->heads() == first.heads() &&
                     mask->causal() == first.causal() && mask->offset() == first.offset(),
                 "device mask: masks of a batch differ; expected one shape, number of heads, "
                 "causality and offset");
    const MaskView view = mask->view();
    for (int32_t head = 0; head < view.heads; ++head) {
      for (int32_t key = 0; key < view.key_length; ++key) {
        const MaskColumn column = mask_column(view, head, key);
        for (const int32_t bound : {column.lts, column.lte, column.uts, column.ute}) *to++ = bound;
      }
    }
  }
  return packed;
}

}  // namespace

DeviceMask::DeviceMask(const ColumnMask& mask, cuda::Context& context)
    : DeviceMask(std::vector<const ColumnMask*>{&mask}, context) {}

DeviceMask::DeviceMask(const std::vector<const ColumnMask*>& masks, cuda::Context& context)
    : context_(&context) {
  HEDDLE_CHECK(!masks.empty(), "device mask: found no mask; expected one, or one a sequence");
  bounds_ = cuda::to_gpu(pack(masks), context);
  columns_ = shape_of(*masks.front(), masks.size());
  columns_.bounds = static_cast<const cuda::ColumnBounds*>(bounds_.raw());
}

DeviceMask::DeviceMask(const cuda::DeviceColumns& columns, cuda::Context& context)
    : context_(&context), columns_(columns) {}

const cuda::TileBits& DeviceMask::tiles(cuda::TileAxis axis, TileShape shape) {
  for (const auto& plan : plans_) {
    if (plan->axis == axis && plan->bits.rows == shape.rows && plan->bits.keys == shape.keys) {
      return plan->bits;
    }
  }
  const int32_t query_tiles = (columns_.query_length - 1) / shape.rows + 1;
  const int32_t key_tiles = (columns_.key_length - 1) / shape.keys + 1;
  const bool by_query = axis == cuda::TileAxis::query;
  auto plan = std::make_unique<Plan>();
  plan->axis = axis;
  cuda::TileBits& bits = plan->bits;
  bits.tiles = by_query ? query_tiles : key_tiles;
  bits.words_per_tile = ((by_query ? key_tiles : query_tiles) - 1) / 32 + 1;
  bits.rows = shape.rows;
  bits.keys = shape.keys;

  const int64_t lists = int64_t{columns_.batches} * columns_.heads * bits.tiles;
  HEDDLE_CHECK(lists * bits.words_per_tile < (int64_t{1} << 31), "device mask: ", lists,
               " tiles need more than 2^31 words of bits; expected fewer. Hint: shorter sequences");
  plan->memory =
      Tensor::empty({lists * (2 * bits.words_per_tile + 2)}, DType::i32, context_->memory());
  auto* memory = plan->memory.data<int32_t>();
  bits.words = reinterpret_cast<cuda::TileWord*>(memory);
  bits.counts = memory + lists * 2 * bits.words_per_tile;
  bits.order = bits.counts + lists;
  HEDDLE_CUDA_CHECK(cuda::launch_plan(columns_, axis, bits, context_->stream()));
  plans_.push_back(std::move(plan));
  return plans_.back()->bits;
}

int64_t DeviceMask::bytes() const {
  int64_t bytes = bounds_.defined() ? bounds_.elements() * 4 : 0;
  for (const auto& plan : plans_) bytes += plan->memory.elements() * 4;
  return bytes;
}

}  // namespace heddle
