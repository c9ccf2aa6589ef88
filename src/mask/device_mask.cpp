#include "heddle/mask/device_mask.h"

#include <algorithm>

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

/// Where a plan of this shape lies in `memory`, i32 [plan_size]; size alone when that is null.
cuda::TileBits place(const cuda::DeviceColumns& columns, const TilePlan& plan, int32_t* memory) {
  const int32_t query_tiles = (columns.query_length - 1) / plan.shape.rows + 1;
  const int32_t key_tiles = (columns.key_length - 1) / plan.shape.keys + 1;
  const bool by_query = plan.axis == cuda::TileAxis::query;
  cuda::TileBits bits{};
  bits.tiles = by_query ? query_tiles : key_tiles;
  bits.words_per_tile = ((by_query ? key_tiles : query_tiles) - 1) / 32 + 1;
  bits.rows = plan.shape.rows;
  bits.keys = plan.shape.keys;
  const int64_t lists = int64_t{columns.batches} * columns.heads * bits.tiles;
  HEDDLE_CHECK(lists * bits.words_per_tile < (int64_t{1} << 31), "device mask: ", lists,
               " tiles need more than 2^31 words of bits; expected fewer. Hint: shorter sequences");
  if (memory == nullptr) return bits;
  bits.words = reinterpret_cast<cuda::TileWord*>(memory);
  bits.counts = memory + lists * 2 * bits.words_per_tile;
  bits.order = bits.counts + lists;
  return bits;
}

int64_t plan_size(const cuda::DeviceColumns& columns, const cuda::TileBits& bits) {
  return int64_t{columns.batches} * columns.heads * bits.tiles * (2 * bits.words_per_tile + 2);
}

int64_t bounds_size(const cuda::DeviceColumns& columns) {
  return int64_t{columns.batches} * columns.heads * columns.key_length * 4;
}

}  // namespace

DeviceMask::DeviceMask(const ColumnMask& mask, cuda::Context& context)
    : DeviceMask(std::vector<const ColumnMask*>{&mask}, context) {}

DeviceMask::DeviceMask(const std::vector<const ColumnMask*>& masks, cuda::Context& context)
    : context_(&context) {
  HEDDLE_CHECK(!masks.empty(), "device mask: found no mask; expected one, or one a sequence");
  bounds_ = cuda::to_gpu(pack(masks), context);
  columns_ = shape_of(*masks.front(), masks.size());
  reach_.emplace();
  for (const ColumnMask* mask : masks) {
    const MaskReach reach = mask->reach();
    reach_->pairs += reach.pairs;
    reach_->longest = std::max(reach_->longest, reach.longest);
  }
  columns_.bounds = static_cast<const cuda::ColumnBounds*>(bounds_.raw());
}

DeviceMask::DeviceMask(const cuda::DeviceColumns& columns, cuda::Context& context,
                       std::optional<MaskReach> reach)
    : context_(&context), columns_(columns), reach_(reach) {}

DeviceMask::DeviceMask(const cuda::DeviceColumns& columns, std::span<const TilePlan> plans,
                       const Tensor& memory, cuda::Context& context)
    : context_(&context), columns_(columns) {
  auto* at = memory.data<int32_t>();
  int64_t left = memory.elements() - bounds_size(columns);
  HEDDLE_CHECK(memory.is_contiguous() && left >= 0, "device mask: memory is ",
               memory.shape().text(), "; expected ", bounds_size(columns), " or more without gaps");
  columns_.bounds = reinterpret_cast<const cuda::ColumnBounds*>(at);
  at += bounds_size(columns);
  for (const TilePlan& plan : plans) {
    const cuda::TileBits bits = place(columns, plan, at);
    const int64_t size = plan_size(columns, bits);
    if (size > left) break;
    plans_.push_back(std::make_unique<Plan>(Plan{plan.axis, bits, {}}));
    at += size;
    left -= size;
  }
}

int64_t DeviceMask::memory_size(const cuda::DeviceColumns& columns,
                                std::span<const TilePlan> plans) {
  int64_t size = bounds_size(columns);
  for (const TilePlan& plan : plans) size += plan_size(columns, place(columns, plan, nullptr));
  return size;
}

void DeviceMask::import(const cuda::StartendColumns& from) {
  auto* const bounds = const_cast<cuda::ColumnBounds*>(columns_.bounds);
  HEDDLE_CUDA_CHECK(cuda::launch_import(from, columns_, bounds, context_->stream()));
  for (const auto& plan : plans_) {
    HEDDLE_CUDA_CHECK(cuda::launch_plan(columns_, plan->axis, plan->bits, context_->stream()));
    plan->turns = {};
  }
  key_spans_ = {};
}

const cuda::TileBits& DeviceMask::tiles(cuda::TileAxis axis, TileShape shape) {
  return plan(axis, shape).bits;
}

const uint16_t* DeviceMask::turns(TileShape shape) {
  Plan& by_key = plan(cuda::TileAxis::key, shape);
  if (!by_key.turns.defined()) {
    const int64_t lists = int64_t{columns_.batches} * columns_.heads * by_key.bits.tiles;
    const int64_t query_tiles = (int64_t{columns_.query_length} - 1) / shape.rows + 1;
    by_key.turns = Tensor::empty({(lists * query_tiles + 1) / 2}, DType::i32, context_->memory());
    HEDDLE_CUDA_CHECK(cuda::launch_turns(
        columns_, by_key.bits, static_cast<uint16_t*>(by_key.turns.raw()), context_->stream()));
  }
  return static_cast<const uint16_t*>(by_key.turns.raw());
}

cuda::KeySpans DeviceMask::key_spans() {
  const int64_t sets = int64_t{columns_.batches} * columns_.heads;
  const int64_t groups = (int64_t{columns_.query_length} - 1) / cuda::KeySpans::kRows + 1;
  const bool made = key_spans_.defined();
  if (!made) key_spans_ = Tensor::empty({sets, groups, 2}, DType::i32, context_->memory());
  auto* of_rows = static_cast<cuda::KeySpans::Keys*>(key_spans_.raw());
  if (!made) HEDDLE_CUDA_CHECK(cuda::launch_key_spans(columns_, of_rows, context_->stream()));
  return {of_rows, skips_};
}

DeviceMask::Plan& DeviceMask::plan(cuda::TileAxis axis, TileShape shape) {
  for (const auto& plan : plans_) {
    if (plan->axis == axis && plan->bits.rows == shape.rows && plan->bits.keys == shape.keys) {
      return *plan;
    }
  }
  const TilePlan wanted{axis, shape};
  const int64_t size = plan_size(columns_, place(columns_, wanted, nullptr));
  auto plan = std::make_unique<Plan>();
  plan->axis = axis;
  plan->memory = Tensor::empty({size}, DType::i32, context_->memory());
  plan->bits = place(columns_, wanted, plan->memory.data<int32_t>());
  HEDDLE_CUDA_CHECK(cuda::launch_plan(columns_, axis, plan->bits, context_->stream()));
  if (!skips_) {
    HEDDLE_CUDA_CHECK(cuda::launch_show_all(columns_, axis, plan->bits, context_->stream()));
  }
  plans_.push_back(std::move(plan));
  return *plans_.back();
}

int64_t DeviceMask::bytes() const {
  int64_t bytes = bounds_.defined() ? bounds_.elements() * 4 : 0;
  if (key_spans_.defined()) bytes += key_spans_.elements() * 4;
  for (const auto& plan : plans_) {
    bytes += plan_size(columns_, plan->bits) * 4;
    if (plan->turns.defined()) bytes += plan->turns.elements() * 4;
  }
  return bytes;
}

}  // namespace heddle
