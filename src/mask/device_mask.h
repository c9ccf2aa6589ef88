// DeviceMask: a ColumnMask, or the masks of a batch of equally long sequences, on a GPU, with the
// live tiles that kernels walk. Made once and shared by all layers and steps; building it queues a
// few kernels and never waits for the GPU.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "heddle/mask/cuda/launch.h"
#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"
#include "heddle/tensor/cuda.h"

namespace heddle {

/// A plan that kernels ask for: one axis in tiles of one shape.
struct TilePlan {
  cuda::TileAxis axis;
  TileShape shape;
};

class DeviceMask {
 public:
  /// One mask for all sequences.
  DeviceMask(const ColumnMask& mask, cuda::Context& context);

  /// One mask a sequence, all of one shape, causality, offset and number of heads.
  DeviceMask(const std::vector<const ColumnMask*>& masks, cuda::Context& context);

  /// `bounds` and the rest as they are, already on the GPU; the memory is the caller's.
  DeviceMask(const cuda::DeviceColumns& columns, cuda::Context& context,
             std::optional<MaskReach> reach = {});

  /// A mask of the shape of `columns` whose bounds and first plans lie in the caller's memory, i32,
  /// as many as fit there. `import` fills it, or another DeviceMask has done so.
  DeviceMask(const cuda::DeviceColumns& columns, std::span<const TilePlan> plans,
             const Tensor& memory, cuda::Context& context);

  /// Elements of the memory that holds the bounds and all of the plans.
  static int64_t memory_size(const cuda::DeviceColumns& columns, std::span<const TilePlan> plans);

  /// Makes bounds and plans from FlashMask's columns on the GPU.
  void import(const cuda::StartendColumns& from);

  const cuda::DeviceColumns& columns() const { return columns_; }

  /// The live tiles of one axis. Built when first asked for, on the context's stream, and kept.
  const cuda::TileBits& tiles(cuda::TileAxis axis, TileShape shape);

  /// The order of additions from many key tiles to one query tile: see cuda::launch_turns. Made and
  /// kept like tiles.
  const uint16_t* turns(TileShape shape);

  /// Which keys groups of rows look at. Made and kept like tiles.
  cuda::KeySpans key_spans();

  /// Of the mask, or of all of a batch; nothing when the host never saw the bounds.
  const std::optional<MaskReach>& reach() const { return reach_; }

  /// Plans that are asked for from now on skip no tile: the same results, to be tested.
  void skip_nothing() { skips_ = false; }

  int64_t bytes() const;  ///< GPU memory of the bounds and all plans so far

 private:
  struct Plan {
    cuda::TileAxis axis;
    cuda::TileBits bits;
    Tensor memory;
    Tensor turns{};
  };
  Plan& plan(cuda::TileAxis axis, TileShape shape);

  cuda::Context* context_;
  Tensor bounds_;  // i32 [batches, heads, key_length, 4], or undefined when the caller's
  cuda::DeviceColumns columns_;
  std::optional<MaskReach> reach_;
  Tensor key_spans_;  // i32 [batches, heads, groups, 2], or undefined
  bool skips_ = true;
  std::vector<std::unique_ptr<Plan>> plans_;
};

}  // namespace heddle
