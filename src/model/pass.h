// One run through a model: its weights, the thread's scratch memory, and the operations that the
// layer functions are made of. Layers compute through a Pass alone, so this is the one place where
// a training tape has to be told what was done.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "heddle/base/dtype.h"
#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"
#include "heddle/model/alignments.h"
#include "heddle/model/weights.h"
#include "heddle/ops/rows.h"
#include "heddle/ops/workspace.h"

namespace heddle::model {

/// Which keys each row sees: what a mask says, or the row view of one, ranges of keys. The mask has
/// a backward; ranges give the same bits wherever a sentence stands.
struct Visible {
  std::span<const int32_t> begin{}, length{};  ///< [R]: row r sees [begin, begin + length)
  const ColumnMask* mask = nullptr;            ///< R × keys; used when given
  const MaskPlan* plan = nullptr;
  std::string_view implementation{};  ///< of attention under the mask; empty: any
};

/// Keys and values of `tokens` tokens; token t's lie t · stride elements behind the first, [K, E].
struct Keys {
  const void* keys = nullptr;
  const void* values = nullptr;
  int64_t tokens = 0;
  int64_t stride = 0;
  DType dtype = DType::f32;
};

class Pass {
 public:
  Pass(const Weights& weights, ops::Workspace& workspace)
      : weights_(weights), workspace_(workspace) {}

  const Weights& weights() const { return weights_; }
  ops::Workspace& workspace() { return workspace_; }

  /// y = act(x · Wᵀ + bias) + residual; `next` is about y.
  struct After {
    ops::Activation activation = ops::Activation::none;
    const ops::Rows* residual = nullptr;  ///< may be y
    ops::Next next{};
  };
  void linear(ops::Rows& x, const Projection& projection, const After& after, ops::Rows& y);

  /// y = norm(x + residual); y may be either.
  void norm(const ops::Rows& x, const ops::Rows* residual, const NormWeights& norm,
            const ops::Next& next, ops::Rows& y);

  /// x += y.
  void add(const ops::Rows& y, ops::Rows& x);

  /// y = act(x[:, :F]) ∘ x[:, F:].
  void gate(const ops::Rows& x, const ops::Next& next, ops::Rows& y);

  /// out [R, H · E] = softmax(q · keysᵀ / √E) · values over what each row sees. `weights`, unless
  /// null, receives the softmax of the alignment head; row views only.
  void attend(ops::Rows& q, const Keys& keys, const Visible& visible, const AttentionShape& shape,
              ops::Rows& out, const AlignmentRows* alignments = nullptr);

 private:
  void attend_under_mask(ops::Rows& q, const Keys& keys, const Visible& visible,
                         const AttentionShape& shape, ops::Rows& out);

  const Weights& weights_;
  ops::Workspace& workspace_;
};

}  // namespace heddle::model
