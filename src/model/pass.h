// One run through a model: its weights, the thread's scratch memory, and the operations that the
// layer functions are made of. Layers compute through a Pass alone, so this is the one place where
// a training tape is told what was done.
//
// With a tape, an operation binds its y to rows of its own instead of writing over rows that the
// way back still needs; in-place calls mean the same either way.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "heddle/autograd/tape.h"
#include "heddle/base/dtype.h"
#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"
#include "heddle/model/alignments.h"
#include "heddle/model/weights.h"
#include "heddle/ops/dropout.h"
#include "heddle/ops/linear.h"
#include "heddle/ops/rows.h"
#include "heddle/ops/workspace.h"

namespace heddle {
class DeviceMask;
}

namespace heddle::model {

/// Which keys each row sees: what a mask says, or the row view of one, ranges of keys. The mask has
/// a backward; ranges give the same bits wherever a sentence stands.
struct Visible {
  std::span<const int32_t> begin{}, length{};  ///< [R]: row r sees [begin, begin + length)
  const ColumnMask* mask = nullptr;            ///< R × keys; used when given
  const MaskPlan* plan = nullptr;
  DeviceMask* device_mask = nullptr;  ///< the mask on a GPU, for a pass there
  std::string_view implementation{};  ///< of attention under the mask; empty: any
};

/// Keys and values of `tokens` tokens; token t's lie t · stride elements behind the first, [K, E].
template <typename Rows>
struct KeysOf {
  const void* keys = nullptr;
  const void* values = nullptr;
  int64_t tokens = 0;
  int64_t stride = 0;
  DType dtype = DType::f32;

  /// On a tape: the rows that they are columns of, from these on.
  Rows* rows = nullptr;
  int64_t first_key = 0, first_value = 0;
};
using Keys = KeysOf<ops::Rows>;

/// What one decoder layer keeps of the past of a step's rows: keys and values [tokens, K · E], to
/// which each row adds its own at `at`, or the SSRU's cells, row r's at cells + at[r] · D.
struct LayerPast {
  void* keys = nullptr;
  void* values = nullptr;
  DType dtype = DType::f32;
  int64_t tokens = 0;
  float* cells = nullptr;
  std::span<const int32_t> at{};  ///< [R]; empty: there is no past, rows are whole sentences
};

/// Columns of keys and of values, each `width` wide.
struct KeyColumns {
  int64_t first_key, first_value, width;
};

/// What a run that trains has beside weights and workspace. Values and gradients of parameters are
/// numbered as in parameters_of.
struct Training {
  autograd::Tape* tape = nullptr;
  std::span<const float* const> values{};
  std::span<float* const> gradients{};
  ops::Dropout dropout{};  ///< of embeddings and sublayers; sites are numbered as they come
  double activation_dropout = 0;
  bool recompute = false;  ///< keep the input of each block alone

  const float* value(ParameterNumber number) const { return values[static_cast<size_t>(number)]; }
  float* gradient(ParameterNumber number) const {
    return number < 0 ? nullptr : gradients[static_cast<size_t>(number)];
  }
};

class Pass {
 public:
  using Rows = ops::Rows;

  Pass(const Weights& weights, ops::Workspace& workspace, const Training* training = nullptr)
      : weights_(weights),
        workspace_(workspace),
        training_(training),
        tape_(training != nullptr ? training->tape : nullptr) {}
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  const Weights& weights() const { return weights_; }
  ops::Workspace& workspace() { return workspace_; }

  /// From here on the model is what its adapter was put on; not with a tape.
  void leave_adapter_out() { adapts_ = false; }

  /// New rows, from the workspace or on the tape.
  ops::Rows rows(int64_t count, int64_t width) {
    return tape_ != nullptr ? tape_->rows(count, width) : ops::Rows(count, width, workspace_);
  }

  /// Scope of the workspace that, with a tape, stays open until the way back has been gone.
  class Scope {
   public:
    explicit Scope(Pass& pass) {
      if (pass.tape_ == nullptr) scope_.emplace(pass.workspace_);
    }

   private:
    std::optional<ops::Workspace::Scope> scope_;
  };

  /// y = act(x · Wᵀ + bias) + residual; `next` is about y.
  struct After {
    ops::Activation activation = ops::Activation::none;
    const ops::Rows* residual = nullptr;  ///< may be y
    ops::Next next{};
  };
  void linear(ops::Rows& x, const Projection& projection, const After& after, ops::Rows& y);

  /// y = norm(x + residual), of drop(x) where `drops` says so; y may be either.
  void norm(ops::Rows& x, const ops::Rows* residual, const NormWeights& norm, const ops::Next& next,
            ops::Rows& y, bool drops = false);

  /// Norms each head of the queries and keys in x = queries | keys | values.
  void norm_heads(const HeadNorms& norms, const AttentionShape& shape, ops::Rows& x);

  /// x += y, or drop(y).
  void add(ops::Rows& y, ops::Rows& x, bool drops = false);

  /// y = x; on a tape both are then the same rows.
  void copy(const ops::Rows& x, ops::Rows& y);

  /// y = act(x[:, :F]) ∘ x[:, F:].
  void gate(const ops::Rows& x, const ops::Next& next, ops::Rows& y);

  /// x = scale · embeddings + positions.
  void embed(std::span<const int32_t> tokens, const StackEnds& ends,
             std::span<const int32_t> positions, const ops::Next& next, ops::Rows& x);

  /// Turns the first `heads` heads of x by their positions.
  void turn(const RotaryTable& rotary, std::span<const int32_t> positions, int64_t heads,
            ops::Rows& x);

  /// Columns [begin, end) of x.
  ops::Rows columns(ops::Rows& x, int64_t begin, int64_t end) {
    return x.columns(begin, end, workspace_);
  }

  /// The SSRU over whole sentences.
  void ssru_scan(const ops::Rows& gates, std::span<const int32_t> offsets, ops::Rows& y);

  /// One step of the SSRU's cells.
  void ssru_step(const ops::Rows& gates, const LayerPast& past, ops::Rows& y);

  /// Keys and values among the columns of x go to row at[r] of where the past keeps them.
  void store(ops::Rows& x, const KeyColumns& columns, const LayerPast& past);

  /// out [R, H · E] = softmax(scale · q · keysᵀ) · values over what each row sees. `weights`,
  /// unless null, receives the softmax of the alignment head; row views only.
  void attend(ops::Rows& q, const Keys& keys, const Visible& visible, const AttentionShape& shape,
              ops::Rows& out, const AlignmentRows* alignments = nullptr);

  /// Whether dropout does anything here: never outside of training.
  bool drops() const { return training_ != nullptr && training_->dropout.probability > 0; }
  void drop(ops::Rows& x) { drop(training_->dropout.probability, x); }  ///< x = dropout(x)

  /// Dropout behind the activation of a feed-forward layer.
  void drop_activations(ops::Rows& x) {
    if (training_ != nullptr && training_->activation_dropout > 0) {
      drop(training_->activation_dropout, x);
    }
  }

  /// From here on row 0 has this number in the whole batch; it names dropout's random numbers.
  void set_first_row(uint64_t row) { first_row_ = row; }

  /// x = f(x), a part of the model that may be computed again on the way back. f(x) computes by
  /// this pass; what it refers to must live until then.
  template <typename F>
  void block(ops::Rows& x, const F& f) {
    if (tape_ == nullptr || !training_->recompute) return f(x);
    const uint32_t site = site_;
    const uint64_t first_row = first_row_;
    const ops::Rows input = x;
    ops::Rows output = tape_->rows(x.count(), x.width());
    run_unrecorded(input, output, f);
    tape_->record(output, [this, site, first_row, input, output, f](autograd::Tape& tape) {
      const size_t size = tape.size();
      const ops::Workspace::Scope scope(workspace_);
      site_ = site;
      first_row_ = first_row;
      ops::Rows again = input;
      f(again);
      tape.move_gradient(output, again);
      tape.run_back_to(size);
    });
    x = output;
  }

 private:
  template <typename F>
  void run_unrecorded(const ops::Rows& input, const ops::Rows& output, const F& f) {
    autograd::Tape* const tape = tape_;
    tape_ = nullptr;
    const ops::Workspace::Scope scope(workspace_);
    ops::Rows plain(const_cast<float*>(output.row(0)), output.count(), output.width(),
                    output.stride(), workspace_);
    copy(input, plain);
    f(plain);
    tape_ = tape;
  }

  // With an adapter: pass_low_rank.cpp.
  void add_low_rank(ops::Rows& x, const Projection::Part& part, ops::Rows& y);
  ops::Rows low_rank_input(const LowRank& low, ops::Rows& x);
  void plain_linear(ops::Rows& x, const ops::Matrix& matrix,
                    std::span<const ops::LinearWeight> weights, ops::Rows& y);
  std::span<const ops::LinearWeight> weights_of(const Projection::Part& part);
  std::span<const ops::LinearWeight> downs_of(const LowRank& low);
  std::span<const ops::LinearWeight> up_of(const LowRank& low, const LowRank::Change& change);

  void attend_under_mask(ops::Rows& q, const Keys& keys, const Visible& visible,
                         const AttentionShape& shape, ops::Rows& out);
  void drop(double probability, ops::Rows& x);

  void linear_alone(ops::Rows& x, const Projection& projection, const After& after, ops::Rows& y);

  // With a tape: pass_recorded.cpp.
  void record_linear(const ops::Rows& x, const Projection& projection, const After& after,
                     ops::Rows& y);
  void record_norm(const ops::Rows& x, const ops::Rows* residual, const NormWeights& norm,
                   ops::Rows& y);
  void record_embed(std::span<const int32_t> tokens, const StackEnds& ends,
                    const ops::Positions& positions, ops::Rows& x);
  void record_attend(const ops::Rows& q, const Keys& keys, const Visible& visible,
                     const AttentionShape& shape, ops::Rows& out);

  const Weights& weights_;
  ops::Workspace& workspace_;
  const Training* training_;
  autograd::Tape* tape_;  // null also while a block runs unrecorded
  uint32_t site_ = 0;     // of the next dropout
  uint64_t first_row_ = 0;
  bool adapts_ = true;
};

}  // namespace heddle::model
